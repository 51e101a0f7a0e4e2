-- oldest-compatible: 1

-- Of Landscape's protocol. An older broker passes over both columns.
ALTER TABLE state ADD COLUMN is_landscape INTEGER NOT NULL DEFAULT 0;  -- 1: the server is Landscape's
ALTER TABLE state ADD COLUMN ping_interval INTEGER;                    -- seconds between pings, when the server set it
