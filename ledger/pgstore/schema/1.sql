-- Version 1 of the schema of a log. Rows of commits, leaves and entries never change.
-- Hashes, salts and identifiers are bytes; indexes and sizes count from 0.

-- The one row that describes the log.
CREATE TABLE log (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    version integer NOT NULL,  -- of this schema
    raw     boolean NOT NULL,  -- the entries are raw leaves
    secret  bytea NOT NULL     -- key of the deduplication HMAC
);

-- A commit follows the one that ends where it begins. So commits are one chain:
-- no two begin at the same place, and only the first has no predecessor.
CREATE TABLE commits (
    first   bigint PRIMARY KEY,      -- size of the log before
    size    bigint NOT NULL UNIQUE,  -- of the log after
    follows bigint CONSTRAINT commits_follow REFERENCES commits (size),
    id      bytea NOT NULL,          -- drawn by the writer
    root    bytea NOT NULL,          -- of the tree after
    time    bigint NOT NULL,         -- of the last entry, Unix milliseconds
    -- The settings without which the answer to a COMMIT proves nothing.
    durable boolean CONSTRAINT commits_durable CHECK (durable),
    CONSTRAINT commits_chain CHECK (first > 0 AND follows = first OR first = 0 AND follows IS NULL),
    CONSTRAINT commits_grow CHECK (size > first)
);

-- One row for each writer, which it changes to learn that what it has read
-- before is on the standby.
CREATE TABLE markers (
    writer  bytea PRIMARY KEY,
    n       bigint NOT NULL,
    changed timestamptz NOT NULL
);

CREATE TABLE entries (
    index    bigint PRIMARY KEY,
    skeleton bytea NOT NULL
);

CREATE TABLE leaves (
    index bigint PRIMARY KEY,
    data  bytea NOT NULL
);

CREATE TABLE tiles (
    level  smallint NOT NULL,
    index  bigint NOT NULL,
    hashes bytea NOT NULL,
    PRIMARY KEY (level, index)
);

CREATE TABLE checkpoints (
    size   bigint PRIMARY KEY,
    signed bytea NOT NULL
);

CREATE TABLE cosigned (
    size   bigint PRIMARY KEY,
    signed bytea NOT NULL
);

-- The last published checkpoint.
CREATE TABLE published (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    size   bigint NOT NULL,
    signed bytea NOT NULL
);

-- Openings. What is erased has no row.
CREATE TABLE headers (
    index   bigint PRIMARY KEY,
    salt    bytea NOT NULL,
    content bytea NOT NULL
);

-- Large payloads that are complete. A payload belongs to one entry.
CREATE TABLE large (
    id     bytea PRIMARY KEY,
    size   bigint NOT NULL,
    UNIQUE (id, size)
);

-- The content of large payloads. The parts of one that was abandoned are
-- deleted after a day, or when its writer opens the log again.
CREATE TABLE large_parts (
    id      bytea NOT NULL,
    part    integer NOT NULL,
    writer  text NOT NULL,
    written timestamptz NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (id, part)
);

CREATE TABLE payloads (
    index   bigint PRIMARY KEY,
    salt    bytea NOT NULL,
    size    bigint NOT NULL,
    content bytea,             -- null if the payload is large
    large   bytea UNIQUE,
    CONSTRAINT payloads_large FOREIGN KEY (large, size) REFERENCES large (id, size),
    CONSTRAINT payloads_one CHECK ((content IS NULL) <> (large IS NULL))
);

-- Erased large payloads, whose parts are deleted by the next purge.
CREATE TABLE large_erased (
    id bytea PRIMARY KEY
);

-- Erased entries whose bytes may still be in the files of the database.
CREATE TABLE unpurged (
    index bigint PRIMARY KEY
);

-- Projections, which can be made again from the log.
CREATE TABLE heads (
    stream bytea PRIMARY KEY,
    next   bigint NOT NULL,
    last   bytea NOT NULL
);

CREATE TABLE keys (
    key   bytea PRIMARY KEY,
    index bigint NOT NULL
);

CREATE TABLE postings (
    term  bytea NOT NULL,
    index bigint NOT NULL,
    PRIMARY KEY (term, index)
);

CREATE TABLE facts (
    index bigint PRIMARY KEY,
    facts bytea NOT NULL
);
