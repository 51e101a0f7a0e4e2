-- oldest-compatible: 1

-- An older broker passes over these columns.
ALTER TABLE operation ADD COLUMN result INTEGER;                       -- row of the outbox in which its result is queued

-- Of Landscape's protocol.
ALTER TABLE state ADD COLUMN is_landscape INTEGER NOT NULL DEFAULT 0;  -- 1: the server is Landscape's
ALTER TABLE state ADD COLUMN ping_interval INTEGER;                    -- seconds between pings, when the server set it
