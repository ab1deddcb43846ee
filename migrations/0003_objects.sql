-- Which repository has which large file. A file is given out only through a repository that has it.
CREATE TABLE repo_objects (
    repo_id      TEXT   NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    sha256       TEXT   NOT NULL,
    size         BIGINT NOT NULL,
    -- The hash by which Xet clients ask for it; NULL when it is not kept as chunks.
    xet          TEXT,
    -- A path at which a commit has it.
    path         TEXT,
    -- Who uploaded it to this repository last.
    uploader_id  TEXT   REFERENCES accounts (id) ON DELETE SET NULL,
    pushed_at    BIGINT NOT NULL,
    -- NULL: uploaded, and in no commit yet.
    committed_at BIGINT,
    PRIMARY KEY (repo_id, sha256)
);
CREATE INDEX repo_objects_by_sha256 ON repo_objects (sha256);
CREATE INDEX repo_objects_uncommitted ON repo_objects (committed_at, pushed_at);
