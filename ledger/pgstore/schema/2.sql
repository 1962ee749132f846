-- Version 2 adds payloads in a bucket, and the lease.

-- Large payloads whose content is in objects of a bucket, and not in
-- large_parts. A row is there from before the first object is written until
-- after the last is deleted. It is dead when it has no key: nothing can finish
-- or read the payload any more, and its objects are to be deleted.
CREATE TABLE objects (
    id      bytea PRIMARY KEY,
    pieces  integer NOT NULL,      -- objects are numbered from 0 to less than this
    writer  text NOT NULL,
    written timestamptz NOT NULL,  -- when the writer has last changed the row
    key     bytea,                 -- that the objects are encrypted with
    deleted timestamptz            -- when the objects were first deleted
);

CREATE INDEX objects_dead ON objects (id) WHERE key IS NULL;

-- The lease names the server that should commit, which it renews by raising its
-- beat. See store.Lease.
CREATE TABLE lease (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    beat   bigint NOT NULL,
    holder bytea NOT NULL,
    url    text NOT NULL
);
INSERT INTO lease (beat, holder, url) VALUES (0, '', '');
