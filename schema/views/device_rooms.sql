-- Which room a device was in, and when, by `devices.csv` in this folder, if there is one. Its first line is
--   id,room,valid_from,valid_to
-- (or with semicolons or tabs); `id` is a `device_id`. Times are RFC 3339; without an offset they are UTC. Empty
-- means since ever, or until further notice. `valid_to` itself is no longer in, and a later entry of the same
-- device ends an earlier one.
CREATE OR REPLACE VIEW device_rooms AS
WITH files AS (
    -- Taken apart here, since read_csv wants a file to be there.
    SELECT string_split(replace(replace(content, chr(65279), ''), chr(13), ''), chr(10)) AS lines
    FROM read_text('devices.csv')
), forms AS (
    SELECT lines,
        CASE WHEN contains(lines[1], ';') THEN ';' WHEN contains(lines[1], chr(9)) THEN chr(9) ELSE ',' END AS mark
    FROM files
), rows AS (
    SELECT mark, unnest(lines[2:]) AS line,
        [regexp_replace(trim(name, ' "'), '^valid[ _]', '') FOR name IN string_split(lower(lines[1]), mark)] AS names
    FROM forms
), cells AS (
    SELECT names,
        [CASE WHEN starts_with(cell, '"') THEN replace(cell[2:-2], '""', '"') ELSE trim(cell) END
            FOR cell IN regexp_extract_all(line || mark, '("(?:[^"]|"")*"|[^' || mark || ']*)' || mark, 1)] AS cells
    FROM rows
    WHERE trim(line) <> ''
), entries AS (
    SELECT cells[list_position(names, 'id')] AS id, cells[list_position(names, 'room')] AS room,
        nullif(cells[list_position(names, 'from')], '') AS valid_from,
        nullif(cells[list_position(names, 'to')], '') AS valid_to
    FROM cells
), times AS (
    SELECT id, room,
        coalesce(CASE WHEN regexp_matches(valid_from, ':.*(Z|[+-]\d\d:?\d*)$')
            THEN CAST(valid_from AS TIMESTAMP WITH TIME ZONE)
            ELSE CAST(valid_from AS TIMESTAMP) AT TIME ZONE 'UTC' END, '-infinity') AS valid_from,
        coalesce(CASE WHEN regexp_matches(valid_to, ':.*(Z|[+-]\d\d:?\d*)$')
            THEN CAST(valid_to AS TIMESTAMP WITH TIME ZONE)
            ELSE CAST(valid_to AS TIMESTAMP) AT TIME ZONE 'UTC' END, 'infinity') AS valid_to
    FROM entries
    WHERE id <> ''
    -- No device is in two rooms at once.
    QUALIFY row_number() OVER (PARTITION BY id, valid_from ORDER BY room) = 1
)
SELECT id, room, valid_from,
    least(valid_to, coalesce(lead(valid_from) OVER (PARTITION BY id ORDER BY valid_from), 'infinity')) AS valid_to
FROM times;
