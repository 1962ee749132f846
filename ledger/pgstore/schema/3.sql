-- Version 3 adds the configuration that servers share.

-- The last versions of it, each sealed by the server that has published it.
CREATE TABLE configurations (
    version   bigint PRIMARY KEY,
    content   bytea NOT NULL,
    published timestamptz NOT NULL
);
