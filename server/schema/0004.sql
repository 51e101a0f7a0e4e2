-- oldest-compatible: 1
-- Requests of operators that were carried out under an `Idempotency-Key` (server/request_keys.py).

CREATE TABLE request_key (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    digest BLOB NOT NULL,                   -- SHA-256 of the whole request: another one under this key is refused
    created REAL NOT NULL,
    made INTEGER NOT NULL                   -- id of what it made or changed; no reference, for that may be deleted meanwhile
) STRICT;

CREATE INDEX request_key_created ON request_key (created);
