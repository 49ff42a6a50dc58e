-- What an artist reads beyond her statements and lines: what she is owed now, and what an image's attribution says of her.

-- The balance of each of a user's payees, from the ledger. The ledger knows nothing of payees and stays so: no policy on
-- postings, but one view that runs with its owner's rights, does the fencing itself (security_barrier: nothing that a reader
-- adds is evaluated before it) and gives sums only. Currencies are the payee's own and those of her statements.
SET ROLE royalty_owner;
CREATE VIEW settlement.payee_balance WITH (security_barrier = true) AS
SELECT
    p.payee_id,
    c.currency::text AS currency,
    -- What is owed is a credit, and credits are negative.
    (-coalesce(b.total, 0))::bigint AS balance,
    -- The minimum of the platform's terms at the last closed period's last instant, as a payout run takes it; null: none closed.
    m.minimum
FROM access.payee_access AS a
JOIN settlement.payee AS p ON p.payee_id = a.payee_id
CROSS JOIN LATERAL (
    SELECT p.currency
    UNION
    SELECT s.currency FROM settlement.statement AS s WHERE s.payee_id = p.payee_id
) AS c
LEFT JOIN LATERAL (
    SELECT sum(t.amount) AS total FROM ledger.posting AS t
    WHERE t.account_id = (SELECT o.id FROM ledger.account AS o
                          WHERE o.code = 'royalties_payable:' || p.payee_id || ':' || c.currency::text)
) AS b ON true
LEFT JOIN LATERAL (
    SELECT coalesce(v.minimum_payout ->> c.currency::text, '0')::bigint AS minimum
    FROM settlement.platform_version AS v
    WHERE v.valid_from < (SELECT max(e.ends_at) FROM settlement.period AS e WHERE e.state = 'closed')
    ORDER BY v.valid_from DESC LIMIT 1
) AS m ON true
WHERE a.user_id = nullif(current_setting('app.user_id', true), '')::bigint;
RESET ROLE;
GRANT SELECT ON settlement.payee_balance TO portal;

-- An artist's own names and shares, and the content's; another artist's row does not exist for her.
GRANT SELECT (artist_id, version, name) ON attribution.artist_version TO portal;
ALTER TABLE attribution.artist_version ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON attribution.artist_version FOR SELECT TO portal
    USING (artist_id IN (SELECT v.artist_id FROM settlement.contract_version AS v));
GRANT SELECT (status, players) ON attribution.attribution TO portal;
GRANT SELECT (attribution_id, slot, player, share_ppb) ON attribution.attribution_share TO portal;
ALTER TABLE attribution.attribution_share ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON attribution.attribution_share FOR SELECT TO portal
    USING ((player = 'C' OR player IN (SELECT v.artist_id FROM settlement.contract_version AS v))
           AND EXISTS (SELECT FROM attribution.attribution AS a WHERE a.id = attribution_id));
CREATE POLICY guard_all ON attribution.attribution_share FOR SELECT TO royalty_guard USING (true);

-- The API asks whether the database has the schema that its code was written for.
GRANT USAGE ON SCHEMA public TO identity, attribution, settlement, portal;
GRANT SELECT ON public.alembic_version TO identity, attribution, settlement, portal;
