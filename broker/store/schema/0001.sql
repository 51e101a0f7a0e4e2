-- oldest-compatible: 1

-- What the server told us, who we are, and how far the two sides have come. One row.
CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    sequence INTEGER NOT NULL DEFAULT 0,            -- number of the first message that the server has not acknowledged
    next_number INTEGER NOT NULL DEFAULT 0,         -- number that the next message gets when it is first sent
    server_sequence INTEGER NOT NULL DEFAULT 0,     -- number of the server's next message
    api TEXT NOT NULL DEFAULT '3.2',                -- level in force: queued messages take it
    accepted_types TEXT NOT NULL DEFAULT '[]',      -- types that the server takes: JSON list, sorted
    server_uuid TEXT,                               -- which server answered last
    secure_id BLOB,                                 -- our secret identity, once registered
    insecure_id INTEGER,                            -- our public number
    clone_secure_id BLOB,                           -- secret identity of which the server called us a clone
    registration_id TEXT NOT NULL,                  -- makes a repeated registration the same one
    token BLOB,                                     -- to be shown in the next exchange, once
    client_types_hash BLOB,                         -- the server's digest of the types that we handle
    exchange_interval INTEGER,                      -- seconds, when the server set it
    urgent_exchange_interval INTEGER                -- seconds, when the server set it
) STRICT;

-- Messages of one type and one API level that wait for their first sending. Whether they are held follows from the
-- state; nothing about it is stored here.
CREATE TABLE lane (
    id INTEGER PRIMARY KEY,
    type TEXT NOT NULL,
    api TEXT NOT NULL,                              -- level in force when they were queued
    count INTEGER NOT NULL DEFAULT 0,               -- rows of the outbox without a number
    octets INTEGER NOT NULL DEFAULT 0,              -- length of their bodies
    UNIQUE (type, api)
) STRICT;

-- Messages to the server, until the acknowledgement after the one that covers them.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,           -- order of arrival; never used twice
    lane INTEGER NOT NULL,                          -- no REFERENCES: dropping a lane would read all of this table
    number INTEGER,                                 -- given before it is first sent, then kept
    timestamp INTEGER NOT NULL,                     -- seconds since 1970, by the sender's clock
    secure_id BLOB,                                 -- of an operation's result: identity under which it was queued
    subject TEXT,                                   -- of a receipt: what it is about; equal ones are merged until sent
    body BLOB NOT NULL                              -- CBOR map without `api` and `timestamp`
) STRICT;
CREATE INDEX outbox_waiting ON outbox (lane, id) WHERE number IS NULL;
CREATE UNIQUE INDEX outbox_numbered ON outbox (number) WHERE number IS NOT NULL;
CREATE INDEX outbox_result ON outbox (secure_id) WHERE secure_id IS NOT NULL;
CREATE INDEX outbox_receipt ON outbox (subject) WHERE subject IS NOT NULL;

-- Messages that the server could not take, the latest ones.
CREATE TABLE dead_letter (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    number INTEGER NOT NULL,                        -- under which it was sent
    type TEXT NOT NULL,
    api TEXT NOT NULL,
    timestamp INTEGER NOT NULL,                     -- as in the outbox
    reason TEXT NOT NULL,                           -- why, for a person
    body BLOB NOT NULL
) STRICT;

-- Runs of plugin processes that send us batches.
CREATE TABLE feed (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    instance TEXT NOT NULL UNIQUE,                  -- new at each start of a plugin process
    last_batch INTEGER NOT NULL,                    -- highest batch number taken
    last_message INTEGER NOT NULL                   -- highest id in the outbox before it: tells which feeds are latest
) STRICT;

-- What the latest batches of each feed were answered, for when they are sent again.
CREATE TABLE feed_answer (
    id INTEGER PRIMARY KEY,                         -- feed * 64 + batch % 64: a later batch takes an old one's place
    batch INTEGER NOT NULL,
    stored INTEGER NOT NULL,                        -- messages stored
    refused BLOB                                    -- CBOR list of [code, text, [index, ...]]
) STRICT;

-- Stamps of what plugins told since they were last asked to tell all.
CREATE TABLE session (
    id INTEGER PRIMARY KEY,
    plugin TEXT NOT NULL,
    scope TEXT,
    session_id TEXT NOT NULL UNIQUE
) STRICT;
CREATE INDEX session_plugin ON session (plugin, scope);

-- Messages of the server, until they are delivered.
CREATE TABLE inbox (
    number INTEGER PRIMARY KEY,                     -- the server's
    type TEXT NOT NULL,
    operation_id INTEGER,                           -- wants an answer that carries it
    secure_id BLOB,                                 -- our identity when it came
    started INTEGER NOT NULL DEFAULT 0,             -- 1: a handler has it, or had it when the agent stopped
    body BLOB NOT NULL                              -- CBOR map
) STRICT;
CREATE INDEX inbox_started ON inbox (started, number);
CREATE INDEX inbox_operation ON inbox (operation_id) WHERE operation_id IS NOT NULL;

-- Under which identity operations came, the latest ones: an answer under another identity is obsolete.
CREATE TABLE operation (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    operation_id INTEGER NOT NULL,
    secure_id BLOB
) STRICT;
CREATE INDEX operation_operation ON operation (operation_id);
