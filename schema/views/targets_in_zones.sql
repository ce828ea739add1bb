(
        SELECT target.*, config.zones[target.zone_id].zone_name AS zone_name
        FROM (SELECT * EXCLUDE (targets), unnest(targets, recursive := true) FROM {view}) AS target
        LEFT JOIN pontosense_zones AS config
            ON target.site = config.site AND target.source = config.source AND target.device_id = config.device_id
            AND target.received_at >= config.valid_from AND target.received_at < config.valid_to
    )
