(SELECT * EXCLUDE (targets), unnest(targets, recursive := true) FROM {view})
