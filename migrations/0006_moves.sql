-- Where Spaces were before they moved, and how often their apps are opened.

-- Host labels that Spaces had before they moved: what is asked for there is led to the Space.
CREATE TABLE former_labels (
    label    TEXT NOT NULL PRIMARY KEY,
    space_id TEXT NOT NULL REFERENCES spaces (id) ON DELETE CASCADE
);
CREATE INDEX former_labels_by_space ON former_labels (space_id);

ALTER TABLE repos ADD COLUMN visits BIGINT NOT NULL DEFAULT 0;
