-- oldest-compatible: 1
-- Sessions: what must outlive a restart of the server.

CREATE TABLE session_record (
    computer INTEGER PRIMARY KEY REFERENCES computer (id),
    sequence INTEGER NOT NULL DEFAULT 0,    -- number of the latest connection that it was given
    key_name TEXT,                          -- key of the certificate that it showed beside its proof; NULL: it never showed one
    twins_seen REAL                         -- when two machines were last seen to use its identity in turn
) STRICT;

CREATE UNIQUE INDEX session_record_key ON session_record (key_name) WHERE key_name IS NOT NULL;
