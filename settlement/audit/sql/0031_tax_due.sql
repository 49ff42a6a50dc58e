-- What the authorities are due: tax that was withheld, less what refunds gave back and what was remitted.

SET ROLE audit_owner;

CREATE VIEW audit.tax_due AS
SELECT split_part(a.code, ':', 2) AS territory, a.currency::text AS currency,
       -coalesce(sum(p.amount) FILTER (WHERE j.kind = 'statement'), 0) AS withheld,
       coalesce(sum(p.amount) FILTER (WHERE j.kind = 'refund_royalties'), 0) AS given_back,
       coalesce(sum(p.amount) FILTER (WHERE j.kind = 'tax_remitted'), 0) AS remitted,
       -coalesce(sum(p.amount), 0) AS due,
       max(j.value_date) FILTER (WHERE j.kind = 'tax_remitted') AS last_remitted_on
FROM ledger.account AS a
JOIN ledger.posting AS p ON p.account_id = a.id
JOIN ledger.journal AS j ON j.id = p.journal_id
WHERE starts_with(a.code, 'tax_withheld:') GROUP BY 1, 2;
COMMENT ON VIEW audit.tax_due IS
    'tax withheld by territory and currency, what refunds gave back, what was remitted to the authority, and what it is due';

GRANT SELECT ON audit.tax_due TO auditor, settlement;
RESET ROLE;
