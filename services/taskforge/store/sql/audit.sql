-- The audit log: append-only. Only the gateway runs these.

-- name: append_audit
INSERT INTO audit (actor, action, object, detail)
SELECT i.actor, i.action, i.object, i.detail
FROM unnest(:actors::text[], :actions::text[], :objects::text[], :details::jsonb[])
    AS i(actor, action, object, detail);
