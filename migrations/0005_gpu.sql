-- Hardware: who may have how much of it, who wants it, who has it, who had it; and who sleeps.

-- Counts the changes of the tree as a whole: two changes that are right by themselves may contradict each other.
CREATE TABLE quota_tree (
    id         BIGINT NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL
);
INSERT INTO quota_tree (id, generation) VALUES (1, 0);

-- Places of the tree; the site's path is empty. generation: of the tree, when this place was last written.
CREATE TABLE quotas (
    path       TEXT   NOT NULL PRIMARY KEY,
    quota      TEXT   NOT NULL,
    generation BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- generation: raised by whatever changes what may be given out on the node. A lease is taken against it.
CREATE TABLE nodes (
    name          TEXT   NOT NULL PRIMARY KEY,
    generation    BIGINT NOT NULL,
    first_seen_at BIGINT NOT NULL,
    -- NULL: it is there.
    lost_at       BIGINT,
    cordon        TEXT
);

-- Devices that were ever there. leased_milli: what live leases have of it, in thousandths.
CREATE TABLE devices (
    id            TEXT   NOT NULL PRIMARY KEY,
    node          TEXT   NOT NULL REFERENCES nodes (name),
    number        BIGINT NOT NULL,
    model         TEXT   NOT NULL,
    memory_bytes  BIGINT NOT NULL,
    slice_of      TEXT,
    first_seen_at BIGINT NOT NULL,
    lost_at       BIGINT,
    drain         TEXT,
    leased_milli  BIGINT NOT NULL CHECK (leased_milli BETWEEN 0 AND 1000)
);
CREATE INDEX devices_by_node ON devices (node);

-- No reference to the Space: what it used outlives it.
CREATE TABLE claims (
    id           TEXT   NOT NULL PRIMARY KEY,
    space_id     TEXT   NOT NULL,
    account      TEXT   NOT NULL,
    flavor       TEXT   NOT NULL,
    shape        TEXT   NOT NULL,
    priority     TEXT   NOT NULL,
    submitted_at BIGINT NOT NULL,
    limit_ms     BIGINT,
    generation   BIGINT NOT NULL,
    -- Why its last lease ended, while it waits for another.
    again        TEXT,
    -- What the scheduler said last.
    decision     TEXT,
    decided_at   BIGINT,
    ended_at     BIGINT,
    why          TEXT
);
CREATE UNIQUE INDEX claims_live ON claims (space_id) WHERE ended_at IS NULL;
CREATE INDEX claims_by_time ON claims (submitted_at);

CREATE TABLE leases (
    id           TEXT   NOT NULL PRIMARY KEY,
    claim_id     TEXT   NOT NULL REFERENCES claims (id),
    space_id     TEXT   NOT NULL,
    space_name   TEXT   NOT NULL,
    account      TEXT   NOT NULL,
    flavor       TEXT   NOT NULL,
    shape        TEXT   NOT NULL,
    priority     TEXT   NOT NULL,
    node         TEXT   NOT NULL REFERENCES nodes (name),
    -- Since when the claim waited for this lease.
    waited_since BIGINT NOT NULL,
    started_at   BIGINT NOT NULL,
    -- Raised by whatever is about to run on it: who saw it unused before cannot end it.
    generation   BIGINT NOT NULL,
    told_at      BIGINT,
    ends_by      BIGINT,
    ended_at     BIGINT,
    -- Why it shall end, or has ended.
    why          TEXT,
    -- For whom, as the scheduler said.
    notice       TEXT
);
CREATE UNIQUE INDEX leases_live ON leases (space_id) WHERE ended_at IS NULL;
CREATE UNIQUE INDEX leases_live_of_claim ON leases (claim_id) WHERE ended_at IS NULL;
CREATE INDEX leases_by_time ON leases (started_at);

CREATE TABLE lease_devices (
    lease_id     TEXT   NOT NULL REFERENCES leases (id),
    device_id    TEXT   NOT NULL REFERENCES devices (id),
    milli        BIGINT NOT NULL CHECK (milli BETWEEN 1 AND 1000),
    weight_milli BIGINT NOT NULL,
    PRIMARY KEY (lease_id, device_id)
);

-- Times in which the platform did not give what a lease says. Turned into refunds when the lease ends.
CREATE TABLE outages (
    lease_id TEXT   NOT NULL REFERENCES leases (id),
    from_at  BIGINT NOT NULL,
    until_at BIGINT,
    why      TEXT   NOT NULL,
    PRIMARY KEY (lease_id, from_at)
);

-- Append-only. One row for each device of a lease that ended, and one for each refund.
CREATE TABLE ledger (
    id           TEXT   NOT NULL PRIMARY KEY,
    lease_id     TEXT   NOT NULL REFERENCES leases (id),
    account      TEXT   NOT NULL,
    space_id     TEXT   NOT NULL,
    space_name   TEXT   NOT NULL,
    flavor       TEXT   NOT NULL,
    node         TEXT   NOT NULL,
    device_id    TEXT   NOT NULL,
    model        TEXT   NOT NULL,
    milli        BIGINT NOT NULL,
    weight_milli BIGINT NOT NULL,
    from_at      BIGINT NOT NULL,
    until_at     BIGINT NOT NULL,
    why          TEXT   NOT NULL,
    refund_of    TEXT   REFERENCES ledger (id),
    written_at   BIGINT NOT NULL
);
CREATE UNIQUE INDEX ledger_once ON ledger (lease_id, device_id) WHERE refund_of IS NULL;
CREATE UNIQUE INDEX ledger_refunds ON ledger (refund_of, from_at) WHERE refund_of IS NOT NULL;
CREATE INDEX ledger_by_time ON ledger (until_at, id);

CREATE TABLE reservations (
    id          TEXT   NOT NULL PRIMARY KEY,
    place       TEXT   NOT NULL,
    devices     BIGINT NOT NULL,
    models      TEXT   NOT NULL,
    from_at     BIGINT NOT NULL,
    until_at    BIGINT NOT NULL,
    note        TEXT   NOT NULL,
    created_by  TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    -- Nobody came, and it was given up.
    released_at BIGINT,
    canceled_at BIGINT
);
CREATE INDEX reservations_by_end ON reservations (until_at);

-- What the scheduler keeps from one decision to the next: one row.
CREATE TABLE scheduler (
    id         BIGINT NOT NULL PRIMARY KEY,
    carried    TEXT   NOT NULL,
    updated_at BIGINT NOT NULL
);

-- What owners were told about their hardware.
CREATE TABLE notices (
    id       TEXT   NOT NULL PRIMARY KEY,
    space_id TEXT   NOT NULL,
    account  TEXT   NOT NULL,
    at       BIGINT NOT NULL,
    kind     TEXT   NOT NULL,
    message  TEXT   NOT NULL,
    due_at   BIGINT
);
CREATE INDEX notices_by_space ON notices (space_id, at);
CREATE INDEX notices_by_time ON notices (at);

-- Spaces that sleep: for as long as the release and the restart are these.
CREATE TABLE asleep (
    space_id   TEXT   NOT NULL PRIMARY KEY REFERENCES spaces (id) ON DELETE CASCADE,
    release_id TEXT   NOT NULL,
    restart    BIGINT NOT NULL,
    since      BIGINT NOT NULL,
    why        TEXT   NOT NULL
);

-- What its git objects take on the disk, as last measured; quotas limit it.
ALTER TABLE repos ADD COLUMN git_bytes BIGINT NOT NULL DEFAULT 0;
