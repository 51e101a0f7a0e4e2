-- oldest-compatible: 1
-- Computers whose agents make no registration id.

ALTER TABLE computer ADD COLUMN facts BLOB;     -- digest of title, hostname and clone_secure_id as registered; NULL with an id

CREATE INDEX computer_facts ON computer (account, facts) WHERE facts IS NOT NULL;

-- Tables of typed columns follow from the declarations of message types, and come and go with them (server/typed.py).

CREATE TABLE typed_table (
    name TEXT PRIMARY KEY,                      -- begins with `typed:`
    definition TEXT NOT NULL                    -- the statement that made it: with another it is made anew
) STRICT;

CREATE TABLE attachment (
    id INTEGER PRIMARY KEY AUTOINCREMENT,       -- what operations name
    name TEXT,                                  -- for people
    size INTEGER NOT NULL,                      -- octets
    digest BLOB NOT NULL,                       -- SHA-256 of the octets
    created REAL NOT NULL,
    octets BLOB NOT NULL
) STRICT;

-- Ids under which operations went out again (server/outgoing.py).

CREATE TABLE operation_alias (
    id INTEGER PRIMARY KEY,                     -- never also an operation's own id
    operation INTEGER NOT NULL REFERENCES operation (id)
) STRICT;

CREATE INDEX operation_alias_operation ON operation_alias (operation);
