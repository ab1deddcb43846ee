-- Accounts, Spaces and what their life leaves behind.
-- The portable subset of SQLite and PostgreSQL: TEXT ids (ULID), BIGINT for integers and for time
-- (Unix milliseconds, UTC), BOOLEAN, TEXT holding JSON for opaque values.

CREATE TABLE accounts (
    id          TEXT    NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL,
    name_key    TEXT    NOT NULL UNIQUE,
    kind        TEXT    NOT NULL,
    full_name   TEXT    NOT NULL,
    email       TEXT,
    is_admin    BOOLEAN NOT NULL,
    disabled_at BIGINT,
    created_at  BIGINT  NOT NULL
);

CREATE TABLE members (
    org_id     TEXT   NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    user_id    TEXT   NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    role       TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (org_id, user_id)
);
CREATE INDEX members_by_user ON members (user_id);

CREATE TABLE tokens (
    id         TEXT   NOT NULL PRIMARY KEY,
    account_id TEXT   NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    name       TEXT   NOT NULL,
    role       TEXT   NOT NULL,
    scopes     TEXT   NOT NULL,
    hash       TEXT   NOT NULL UNIQUE,
    hint       TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (account_id, name)
);

-- Models, data sets and Spaces. A name is unique per kind: name_key is 'spaces/alice/demo'.
CREATE TABLE repos (
    id         TEXT   NOT NULL PRIMARY KEY,
    kind       TEXT   NOT NULL,
    owner_id   TEXT   NOT NULL REFERENCES accounts (id),
    creator_id TEXT   NOT NULL REFERENCES accounts (id),
    name       TEXT   NOT NULL,
    name_key   TEXT   NOT NULL UNIQUE,
    visibility TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    head       TEXT,
    indexed    TEXT,
    card       TEXT,
    likes      BIGINT NOT NULL,
    trending   BIGINT NOT NULL,
    downloads  BIGINT NOT NULL
);
CREATE INDEX repos_by_owner ON repos (owner_id);
CREATE INDEX repos_by_change ON repos (kind, updated_at, id);

CREATE TABLE repo_tags (
    repo_id TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    tag     TEXT NOT NULL,
    PRIMARY KEY (repo_id, tag)
);
CREATE INDEX repo_tags_by_tag ON repo_tags (tag, repo_id);

-- Where a repository was before it moved.
CREATE TABLE redirects (
    name_key TEXT NOT NULL PRIMARY KEY,
    repo_id  TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE
);

-- What makes a repository a Space: its app.
CREATE TABLE spaces (
    id            TEXT    NOT NULL PRIMARY KEY REFERENCES repos (id) ON DELETE CASCADE,
    subdomain     TEXT    NOT NULL UNIQUE,
    sdk           TEXT    NOT NULL,
    generation    BIGINT  NOT NULL,
    run           TEXT    NOT NULL,
    rebuild       BIGINT  NOT NULL,
    no_cache      BOOLEAN NOT NULL,
    restart       BIGINT  NOT NULL,
    settings      BIGINT  NOT NULL,
    hardware      TEXT    NOT NULL,
    sleep_after_s BIGINT,
    volumes       TEXT    NOT NULL,
    stage         TEXT    NOT NULL,
    diagnosis     TEXT
);

CREATE TABLE variables (
    space_id    TEXT   NOT NULL REFERENCES spaces (id) ON DELETE CASCADE,
    name        TEXT   NOT NULL,
    value       TEXT   NOT NULL,
    description TEXT,
    updated_at  BIGINT NOT NULL,
    PRIMARY KEY (space_id, name)
);

CREATE TABLE secrets (
    space_id    TEXT   NOT NULL REFERENCES spaces (id) ON DELETE CASCADE,
    name        TEXT   NOT NULL,
    sealed      TEXT   NOT NULL,
    description TEXT,
    updated_at  BIGINT NOT NULL,
    PRIMARY KEY (space_id, name)
);

CREATE TABLE revisions (
    space_id   TEXT   NOT NULL REFERENCES spaces (id) ON DELETE CASCADE,
    sha        TEXT   NOT NULL,
    inspection TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (space_id, sha)
);

CREATE TABLE builds (
    id               TEXT    NOT NULL PRIMARY KEY,
    space_id         TEXT    NOT NULL REFERENCES spaces (id) ON DELETE CASCADE,
    number           BIGINT  NOT NULL,
    sha              TEXT    NOT NULL,
    rebuild          BIGINT  NOT NULL,
    no_cache         BOOLEAN NOT NULL,
    state            TEXT    NOT NULL,
    queued_at        BIGINT  NOT NULL,
    started_at       BIGINT,
    finished_at      BIGINT,
    lease            TEXT,
    diagnosis        TEXT,
    artifact         TEXT,
    phases           TEXT    NOT NULL,
    cancel_requested BOOLEAN NOT NULL,
    UNIQUE (space_id, sha, rebuild),
    UNIQUE (space_id, number)
);
CREATE INDEX builds_by_state ON builds (state);

CREATE TABLE releases (
    id             TEXT   NOT NULL PRIMARY KEY,
    space_id       TEXT   NOT NULL REFERENCES spaces (id) ON DELETE CASCADE,
    number         BIGINT NOT NULL,
    build_id       TEXT   NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    sha            TEXT   NOT NULL,
    config         TEXT   NOT NULL,
    artifact       TEXT   NOT NULL,
    settings       BIGINT NOT NULL,
    variables      TEXT   NOT NULL,
    sealed_secrets TEXT   NOT NULL,
    volumes        TEXT   NOT NULL,
    hardware       TEXT   NOT NULL,
    created_at     BIGINT NOT NULL,
    ready_at       BIGINT,
    UNIQUE (build_id, settings, hardware),
    UNIQUE (space_id, number)
);

CREATE TABLE instances (
    id          TEXT    NOT NULL PRIMARY KEY,
    space_id    TEXT    NOT NULL REFERENCES spaces (id) ON DELETE CASCADE,
    release_id  TEXT    NOT NULL REFERENCES releases (id) ON DELETE CASCADE,
    restart     BIGINT  NOT NULL,
    attempt     BIGINT  NOT NULL,
    created_at  BIGINT  NOT NULL,
    started_at  BIGINT,
    ready_at    BIGINT,
    retired_at  BIGINT,
    ended_at    BIGINT,
    diagnosis   TEXT,
    ended_by_us BOOLEAN NOT NULL,
    UNIQUE (release_id, restart, attempt)
);
CREATE INDEX instances_by_space ON instances (space_id, created_at);

CREATE TABLE audit (
    id       TEXT   NOT NULL PRIMARY KEY,
    at       BIGINT NOT NULL,
    actor    TEXT   NOT NULL,
    origin   TEXT   NOT NULL,
    action   TEXT   NOT NULL,
    subject  TEXT   NOT NULL,
    detail   TEXT   NOT NULL
);
CREATE INDEX audit_by_time ON audit (at);
