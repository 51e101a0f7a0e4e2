-- oldest-compatible: 1
-- What a server keeps: computers, what they sent, what goes out to them.

CREATE TABLE server (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    uuid TEXT NOT NULL                      -- who we are to agents: another uuid is another server
) STRICT;

CREATE TABLE computer (
    id INTEGER PRIMARY KEY AUTOINCREMENT,   -- the public number of the computer ("insecure id")
    secure_id BLOB NOT NULL UNIQUE,         -- what the agent presents; told to it only once it is approved
    account TEXT NOT NULL,                  -- name of the account that it registered with
    registration_id TEXT NOT NULL,          -- the agent's own id for its registration: a repeat finds this row
    title TEXT NOT NULL,
    hostname TEXT NOT NULL,
    tags TEXT,
    status TEXT NOT NULL CHECK (status IN ('pending', 'approved', 'rejected')),
    clone_of INTEGER REFERENCES computer (id),  -- the computer whose identity it had before it was found to be a clone
    created REAL NOT NULL,                  -- seconds since 1970, as are all times here
    last_exchange REAL,                     -- NULL until it exchanged with its secure id
    expected INTEGER NOT NULL,              -- number of the next message that we want from it
    next_number INTEGER,                    -- number that the next message to it gets; NULL until it told us
    doubted INTEGER,                        -- number that it unexpectedly fell back to, until it says so twice
    token BLOB,                             -- exchange token that it should present next
    previous_token BLOB,                    -- the one before, while we cannot know whether it got the newer
    client_types BLOB,                      -- CBOR list of the types that it takes, as it told us
    client_types_hash BLOB,                 -- digest of that list
    UNIQUE (account, registration_id)
) STRICT;

CREATE INDEX computer_status ON computer (account, status);

CREATE TABLE message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,   -- the cursor of the API: rises in order of arrival, never used again
    computer INTEGER NOT NULL REFERENCES computer (id),
    number INTEGER NOT NULL,                -- its place in the computer's sequence
    type TEXT NOT NULL,
    timestamp INTEGER,                      -- when the agent says that it happened; NULL when it says nothing usable
    received REAL NOT NULL,
    body BLOB NOT NULL                      -- CBOR of the whole message
) STRICT;

CREATE INDEX message_computer ON message (computer);
CREATE INDEX message_type ON message (type);

CREATE TABLE operation (
    id INTEGER PRIMARY KEY AUTOINCREMENT,   -- operation-id: unique for ever
    computer INTEGER NOT NULL REFERENCES computer (id),
    type TEXT NOT NULL,
    fields BLOB NOT NULL,                   -- CBOR map of what the operator gave
    status TEXT NOT NULL CHECK (status IN ('queued', 'sent', 'delivered', 'succeeded', 'failed')),
    created REAL NOT NULL,
    sent REAL,                              -- when it first went out
    finished REAL,                          -- when its result came
    result_code INTEGER,
    result_text TEXT
) STRICT;

CREATE INDEX operation_computer ON operation (computer);

CREATE TABLE outgoing (
    id INTEGER PRIMARY KEY AUTOINCREMENT,   -- order in which messages go out
    computer INTEGER NOT NULL REFERENCES computer (id),
    number INTEGER,                         -- given when first sent and kept, so that a repeat is known as one
    operation INTEGER REFERENCES operation (id),
    type TEXT NOT NULL,
    body BLOB NOT NULL                      -- CBOR of the whole message
) STRICT;

CREATE INDEX outgoing_order ON outgoing (computer, id);
CREATE UNIQUE INDEX outgoing_number ON outgoing (computer, number) WHERE number IS NOT NULL;
CREATE INDEX outgoing_operation ON outgoing (operation) WHERE operation IS NOT NULL;
