-- Version 5 adds what webhooks have received.

-- The webhooks that have received, or may receive, events.
CREATE TABLE webhooks (
    name  text PRIMARY KEY,
    since timestamptz NOT NULL  -- what happened before is not delivered
);

-- The events that were delivered to a webhook in the last weeks.
CREATE TABLE deliveries (
    webhook  text NOT NULL,
    event    text NOT NULL,
    happened timestamptz NOT NULL,
    PRIMARY KEY (webhook, event)
);

CREATE INDEX deliveries_old ON deliveries (webhook, happened);
