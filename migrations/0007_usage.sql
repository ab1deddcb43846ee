-- Looks at what was used that read no more than what they are about, and what apps keep in buckets.

-- Budgets are added up from this alone.
CREATE INDEX ledger_sums ON ledger (until_at, from_at, account, milli, refund_of);
CREATE INDEX ledger_by_account ON ledger (account, until_at, id);
CREATE INDEX ledger_by_space ON ledger (space_id, until_at, id);
CREATE INDEX leases_by_end ON leases (ended_at);

-- What buckets take, as last measured; quotas limit it.
CREATE TABLE buckets (
    owner_id TEXT   NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    name     TEXT   NOT NULL,
    bytes    BIGINT NOT NULL,
    PRIMARY KEY (owner_id, name)
);
