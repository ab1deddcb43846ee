-- Likes, follows, discussions with what happens in them, and webhooks with what is sent to them.

CREATE TABLE likes (
    repo_id    TEXT   NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    account_id TEXT   NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (repo_id, account_id)
);
CREATE INDEX likes_by_account ON likes (account_id, created_at);
CREATE INDEX likes_by_time ON likes (created_at);

CREATE TABLE follows (
    account_id  TEXT   NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    follower_id TEXT   NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (account_id, follower_id)
);
CREATE INDEX follows_by_follower ON follows (follower_id, created_at);

-- The last number given to a discussion or a pull request of a repository.
CREATE TABLE discussion_numbers (
    repo_id TEXT   NOT NULL PRIMARY KEY REFERENCES repos (id) ON DELETE CASCADE,
    last    BIGINT NOT NULL
);

-- events: how many there are, and so the number of the next. bytes: of all their texts.
CREATE TABLE discussions (
    id             TEXT    NOT NULL PRIMARY KEY,
    repo_id        TEXT    NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    number         BIGINT  NOT NULL,
    author_id      TEXT    NOT NULL REFERENCES accounts (id),
    title          TEXT    NOT NULL,
    status         TEXT    NOT NULL,
    pinned         BOOLEAN NOT NULL,
    locked         BOOLEAN NOT NULL,
    comments       BIGINT  NOT NULL,
    events         BIGINT  NOT NULL,
    bytes          BIGINT  NOT NULL,
    created_at     BIGINT  NOT NULL,
    base           TEXT,
    head           TEXT,
    merge_commit   TEXT,
    merge_previous TEXT,
    UNIQUE (repo_id, number)
);
CREATE INDEX discussions_by_author ON discussions (author_id);

CREATE TABLE discussion_events (
    id            TEXT   NOT NULL PRIMARY KEY,
    discussion_id TEXT   NOT NULL REFERENCES discussions (id) ON DELETE CASCADE,
    number        BIGINT NOT NULL,
    author_id     TEXT   NOT NULL REFERENCES accounts (id),
    created_at    BIGINT NOT NULL,
    kind          TEXT   NOT NULL,
    UNIQUE (discussion_id, number)
);

CREATE TABLE webhooks (
    id            TEXT    NOT NULL PRIMARY KEY,
    owner_id      TEXT    NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    url           TEXT    NOT NULL,
    sealed_secret TEXT,
    domains       TEXT    NOT NULL,
    disabled      BOOLEAN NOT NULL,
    created_at    BIGINT  NOT NULL
);
CREATE INDEX webhooks_by_owner ON webhooks (owner_id);

-- target_id: an account or a repository, which may be gone. place: in the order in which they were given.
CREATE TABLE watched (
    webhook_id TEXT   NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    target_id  TEXT   NOT NULL,
    kind       TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    place      BIGINT NOT NULL,
    PRIMARY KEY (webhook_id, target_id)
);
CREATE INDEX watched_by_target ON watched (target_id);

-- What happened to something that is watched, until it is turned into deliveries. No reference to the
-- repository: its end is an event, too.
CREATE TABLE hook_events (
    id       TEXT   NOT NULL PRIMARY KEY,
    repo_id  TEXT   NOT NULL,
    owner_id TEXT   NOT NULL,
    at       BIGINT NOT NULL,
    repo     TEXT   NOT NULL,
    change   TEXT   NOT NULL
);
CREATE INDEX hook_events_by_time ON hook_events (at, id);

CREATE TABLE deliveries (
    id         TEXT   NOT NULL PRIMARY KEY,
    webhook_id TEXT   NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    event_id   TEXT   NOT NULL,
    repo       TEXT   NOT NULL,
    domain     TEXT   NOT NULL,
    body       TEXT   NOT NULL,
    state      TEXT   NOT NULL,
    attempts   BIGINT NOT NULL,
    next_at    BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    ended_at   BIGINT,
    status     BIGINT,
    error      TEXT,
    replay_of  TEXT
);
CREATE INDEX deliveries_due ON deliveries (state, webhook_id, next_at);
CREATE INDEX deliveries_by_webhook ON deliveries (webhook_id, created_at, id);
