-- A royalty line as its payee sees it: the fields of `settlement.statements.detail.Line` in their order, after the keys to
-- find it by. The bytes that COPY makes of those fields are the line's canonical record.
-- Lines that have no payee (suspense) are in it too: for operators and auditors.
SET ROLE royalty_owner;
CREATE VIEW settlement.statement_line WITH (security_invoker = true) AS
SELECT
    l.id,
    l.payee_id,
    l.period_id || '/' || l.payee_id || '/' || l.currency AS statement_id,
    coalesce(r.external_id || '/', '') || s.external_id
        || CASE
            WHEN l.player IS NOT NULL THEN '/' || l.player || '/' || coalesce(l.payee_id, l.player)
            -- A whole slice that left pending for good stands beside the line that put it there.
            WHEN 'late' IN (l.kind, o.kind) THEN '/unattributed'
            ELSE ''
        END AS line,
    l.kind,
    l.period_id AS period,
    c.usage_period,
    (s.sold_at AT TIME ZONE p.zone)::date AS usage_date,
    s.territory::text AS territory,
    s.external_id AS sale,
    i.external_id AS image,
    i.model,
    l.player,
    m.name AS method,
    l.share_ppb AS share,
    l.distribution_key,
    k.rate_card_id || '@' || (k.valid_from AT TIME ZONE p.zone)::date AS rate_card,
    t.contract_id || '@' || (t.valid_from AT TIME ZONE p.zone)::date AS contract,
    l.split_ppb AS split,
    c.base_micros AS base,
    c.slice_micros AS slice,
    l.amount_micros AS amount,
    l.currency::text AS currency,
    CASE WHEN l.kind = 'refund' THEN
        s.external_id
        || CASE
            WHEN o.player IS NOT NULL THEN '/' || o.player || '/' || coalesce(o.payee_id, o.player)
            WHEN o.kind = 'late' THEN '/unattributed'
            ELSE ''
        END
    END AS corrects
FROM settlement.royalty_line AS l
JOIN settlement.period AS p ON p.period_id = l.period_id
JOIN settlement.sale AS s ON s.id = l.sale_id
JOIN settlement.sale_slice AS c ON c.sale_id = l.sale_id
JOIN settlement.rate_card_version AS k ON k.id = c.rate_card_version_id
JOIN attribution.image AS i ON i.id = s.image_id
LEFT JOIN settlement.refund AS r ON r.id = l.refund_id
LEFT JOIN settlement.royalty_line AS o ON o.id = l.corrects
LEFT JOIN settlement.contract_version AS t ON t.id = l.contract_version_id
LEFT JOIN attribution.attribution AS a ON a.id = l.attribution_id
LEFT JOIN attribution.method_version AS m ON m.id = a.method_id;
RESET ROLE;

GRANT SELECT ON settlement.statement_line TO settlement, portal;

-- What the portal may read behind the view: no price, no tax, no customer, no prompt, and nothing that is not hers.
GRANT SELECT (id, external_id, image_id, sold_at, territory) ON settlement.sale TO portal;
GRANT SELECT ON settlement.sale_slice TO portal;
GRANT SELECT (id, external_id, sale_id) ON settlement.refund TO portal;
GRANT SELECT ON settlement.rate_card_version TO portal;
GRANT SELECT (id, contract_id, artist_id, valid_from, status) ON settlement.contract_version TO portal;
GRANT SELECT ON settlement.contract_split TO portal;
GRANT SELECT (id, external_id, model, generated_at) ON attribution.image TO portal;
GRANT SELECT (id, image_id, method_id) ON attribution.attribution TO portal;
GRANT SELECT (id, name, sha256) ON attribution.method_version TO portal;

ALTER TABLE settlement.sale ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON settlement.sale FOR SELECT TO portal
    USING (EXISTS (SELECT FROM settlement.royalty_line AS l WHERE l.sale_id = sale.id));
ALTER TABLE settlement.sale_slice ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON settlement.sale_slice FOR SELECT TO portal
    USING (EXISTS (SELECT FROM settlement.royalty_line AS l WHERE l.sale_id = sale_slice.sale_id));
ALTER TABLE settlement.refund ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON settlement.refund FOR SELECT TO portal
    USING (EXISTS (SELECT FROM settlement.royalty_line AS l WHERE l.sale_id = refund.sale_id));
ALTER TABLE settlement.contract_split ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON settlement.contract_split FOR SELECT TO portal
    USING (payee_id = ANY (ARRAY(SELECT a.payee_id FROM access.payee_access AS a)));
ALTER TABLE settlement.contract_version ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON settlement.contract_version FOR SELECT TO portal
    USING (EXISTS (SELECT FROM settlement.contract_split AS c WHERE c.contract_version_id = contract_version.id));
ALTER TABLE attribution.image ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON attribution.image FOR SELECT TO portal
    USING (EXISTS (SELECT FROM settlement.sale AS s WHERE s.image_id = image.id));
ALTER TABLE attribution.attribution ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON attribution.attribution FOR SELECT TO portal
    USING (EXISTS (SELECT FROM settlement.sale AS s WHERE s.image_id = attribution.image_id));

-- The platform heads every statement: its party is for every payee to read, and for nobody who is none.
GRANT SELECT (platform_payee_id) ON settlement.platform_version TO portal;
CREATE POLICY platform ON party.party_version FOR SELECT TO portal
    USING (payee_id IN (SELECT v.platform_payee_id FROM settlement.platform_version AS v)
           AND EXISTS (SELECT FROM access.payee_access));
