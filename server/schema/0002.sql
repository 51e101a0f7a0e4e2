-- oldest-compatible: 1
-- Computers whose agents make no registration id.

ALTER TABLE computer ADD COLUMN facts BLOB;     -- digest of title, hostname and clone_secure_id as registered; NULL with an id

CREATE INDEX computer_facts ON computer (account, facts) WHERE facts IS NOT NULL;
