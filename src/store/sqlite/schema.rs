//! The gateway's tables in a `SQLite` file.

/// How they came about; append only.
pub(in crate::store) const GATEWAY: &[&str] = &[
        "
        CREATE TABLE runs (first_position INTEGER NOT NULL);
        CREATE TABLE calls (
            call_id       TEXT PRIMARY KEY,
            operator      TEXT NOT NULL,
            called        TEXT NOT NULL,
            caller_number TEXT,
            started_ms    INTEGER NOT NULL,
            answered_ms   INTEGER,
            duration_us   INTEGER,
            end_reason    TEXT
        );
        CREATE INDEX calls_by_start ON calls (started_ms, call_id);
        CREATE INDEX calls_of_operator ON calls (operator, started_ms, call_id);
        CREATE TABLE events (
            position INTEGER PRIMARY KEY,
            call_id  TEXT NOT NULL REFERENCES calls ON DELETE CASCADE,
            body     TEXT NOT NULL
        );
        CREATE INDEX events_of_call ON events (call_id, position);
        CREATE TABLE drafts (
            call_id   TEXT PRIMARY KEY,
            revision  INTEGER NOT NULL,
            closed    INTEGER NOT NULL DEFAULT 0,
            ticket_id TEXT,
            body      TEXT NOT NULL
        );
        CREATE TABLE outbox (
            call_id  TEXT NOT NULL REFERENCES drafts ON DELETE CASCADE,
            kind     INTEGER NOT NULL,
            revision INTEGER NOT NULL,
            parked   INTEGER NOT NULL DEFAULT 0,
            due_ms   INTEGER NOT NULL DEFAULT 0,
            attempts INTEGER NOT NULL DEFAULT 0,
            code     TEXT,
            reason   TEXT,
            since_ms INTEGER NOT NULL,
            PRIMARY KEY (call_id, kind)
        );
        CREATE INDEX outbox_due ON outbox (parked, due_ms, since_ms);
    ", "
        CREATE TABLE outbox_lanes (
            lane     INTEGER NOT NULL,
            call_id  TEXT NOT NULL REFERENCES drafts ON DELETE CASCADE,
            kind     INTEGER NOT NULL,
            revision INTEGER NOT NULL,
            parked   INTEGER NOT NULL DEFAULT 0,
            due_ms   INTEGER NOT NULL DEFAULT 0,
            attempts INTEGER NOT NULL DEFAULT 0,
            code     TEXT,
            reason   TEXT,
            since_ms INTEGER NOT NULL,
            PRIMARY KEY (lane, call_id, kind)
        );
        INSERT INTO outbox_lanes
            SELECT 0, call_id, kind, revision, parked, due_ms, attempts, code, reason, since_ms FROM outbox;
        DROP TABLE outbox;
        ALTER TABLE outbox_lanes RENAME TO outbox;
        CREATE INDEX outbox_due ON outbox (lane, parked, due_ms, since_ms);
        CREATE INDEX drafts_open ON drafts (call_id) WHERE closed = 0;
        CREATE TABLE gists (
            call_id  TEXT PRIMARY KEY REFERENCES drafts ON DELETE CASCADE,
            at_ms    INTEGER NOT NULL,
            phone    TEXT,
            category TEXT,
            subject  TEXT,
            address  TEXT,
            pairs    BLOB NOT NULL
        );
        CREATE INDEX gists_of_phone ON gists (phone, at_ms) WHERE phone IS NOT NULL;
        CREATE INDEX gists_of_subject ON gists (subject, at_ms) WHERE subject IS NOT NULL;
        CREATE INDEX gists_of_category ON gists (category, at_ms) WHERE category IS NOT NULL;
    ", "
        ALTER TABLE calls ADD COLUMN trunk TEXT;
        ALTER TABLE calls ADD COLUMN diverted_from TEXT;
        ALTER TABLE calls ADD COLUMN user_to_user TEXT;
    ", "
        CREATE TABLE places (
            extension TEXT NOT NULL,
            body      TEXT NOT NULL,
            until_ms  INTEGER NOT NULL
        );
        CREATE INDEX places_of_extension ON places (extension);
    ", "
        CREATE TABLE recordings (
            call_id     TEXT PRIMARY KEY,
            file        TEXT NOT NULL,
            state       TEXT NOT NULL,
            duration_us INTEGER NOT NULL,
            lost_us     INTEGER NOT NULL
        );
    ", "
        CREATE TABLE nodes (first_position INTEGER PRIMARY KEY, beat_ms INTEGER NOT NULL);
        INSERT INTO nodes SELECT max(first_position), 0 FROM runs HAVING count(*) > 0;
        DROP TABLE runs;
        ALTER TABLE calls ADD COLUMN node INTEGER;
        ALTER TABLE drafts ADD COLUMN node INTEGER;
        DROP INDEX drafts_open;
        CREATE INDEX drafts_open ON drafts (node) WHERE NOT closed;
        CREATE TABLE site (id TEXT NOT NULL, copied_from TEXT);
        INSERT INTO site (id) VALUES (lower(hex(randomblob(16))));
    ", "
        CREATE TABLE audit (
            id         TEXT PRIMARY KEY,
            at_ms      INTEGER NOT NULL,
            call_id    TEXT NOT NULL,
            actor_name TEXT NOT NULL,
            actor      TEXT NOT NULL,
            command    TEXT NOT NULL,
            detail     TEXT NOT NULL
        );
        CREATE INDEX audit_by_time ON audit (at_ms, id);
        CREATE INDEX audit_of_call ON audit (call_id, at_ms, id);
    ", "
        ALTER TABLE audit ADD COLUMN number INTEGER;
        ALTER TABLE audit ADD COLUMN hash TEXT;
        CREATE UNIQUE INDEX audit_chain ON audit (number) WHERE number IS NOT NULL;
        CREATE TABLE audit_anchor (number INTEGER PRIMARY KEY, hash TEXT NOT NULL);
        CREATE TABLE users (
            name     TEXT PRIMARY KEY,
            version  INTEGER NOT NULL,
            identity TEXT UNIQUE,
            body     TEXT NOT NULL
        );
        CREATE TABLE sessions (
            id         TEXT PRIMARY KEY,
            digest     TEXT NOT NULL UNIQUE,
            user_name  TEXT NOT NULL,
            address    TEXT NOT NULL,
            agent      TEXT NOT NULL,
            started_ms INTEGER NOT NULL,
            seen_ms    INTEGER NOT NULL,
            until_ms   INTEGER NOT NULL
        );
        CREATE INDEX sessions_of_user ON sessions (user_name);
    "];
