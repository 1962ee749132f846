-- Version 4 packs what a commit writes into few rows. Those of earlier versions
-- stay as they are: the tables entries and postings, and rows of headers and
-- payloads, which from now on have only what is too long for a run.

-- Rows are at most as large as a page, and are never compressed or moved out of
-- their table.
CREATE TABLE skeleton_runs (
    first   bigint PRIMARY KEY,  -- index of the first entry
    content bytea NOT NULL       -- skeletons of equal length
) WITH (toast_tuple_target = 8160);

-- Openings of successive entries. Each column has a length of two bytes for
-- each entry, and then the openings. What is erased, or has a row in headers or
-- payloads, has the length 0.
CREATE TABLE opening_runs (
    first    bigint PRIMARY KEY,
    entries  smallint NOT NULL,
    headers  bytea NOT NULL,
    payloads bytea NOT NULL,
    changes  integer NOT NULL DEFAULT 0  -- by erasures
) WITH (toast_tuple_target = 8160);

-- The lists of a term follow each other. One that becomes empty is deleted.
CREATE TABLE posting_lists (
    term    bytea NOT NULL,
    first   bigint NOT NULL,
    offsets integer[] NOT NULL,  -- indexes minus first, increasing
    PRIMARY KEY (term, first)
) WITH (toast_tuple_target = 8160);

-- Programs for earlier versions read no runs. Their commits are refused, with a
-- message that contains the name of this constraint.
ALTER TABLE commits ADD COLUMN packed boolean;
ALTER TABLE commits ADD CONSTRAINT server_is_older_than_its_log_restart_it_with_the_newer_program
    CHECK (packed IS NOT NULL) NOT VALID;
