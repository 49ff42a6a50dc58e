-- What the bank says, beside what the ledger says, beside what statements say.

SET ROLE audit_owner;

-- As in 0007, and the file that carries the payment where a batch has several.
CREATE OR REPLACE VIEW audit.payouts AS
SELECT p.payout_id, p.batch_id, p.payee_id, p.currency::text AS currency, p.balance_micros, p.amount_micros, p.decision,
       p.party_version, t.attempt_id, e.state, e.occurred_at AS state_since, b.execution_date, b.maker, a.checker,
       a.recorded_at AS approved_at, f.name AS file, encode(f.sha256, 'hex') AS file_sha256, b.recorded_at
FROM settlement.payout AS p
JOIN settlement.payout_batch AS b ON b.batch_id = p.batch_id
LEFT JOIN settlement.payout_attempt AS t ON t.payout_id = p.payout_id
LEFT JOIN settlement.payout_file AS f ON f.batch_id = p.batch_id AND f.number = coalesce(t.file, 1)
LEFT JOIN settlement.approval AS a ON a.kind = 'payout_batch' AND a.subject = p.batch_id
    AND a.content_sha256 = b.content_sha256
LEFT JOIN LATERAL (SELECT e.state, e.occurred_at FROM settlement.payout_event AS e
                   WHERE e.payout_id = p.payout_id ORDER BY e.number DESC LIMIT 1) AS e ON true;

CREATE VIEW audit.bank_messages AS
SELECT m.id AS bank_message_id, m.kind, m.version, m.message_id, m.created_at, m.name AS file,
       encode(m.sha256, 'hex') AS sha256, e.lines, e.open, m.actor, m.recorded_at
FROM settlement.bank_message AS m
LEFT JOIN LATERAL (
    SELECT count(*) AS lines, count(*) FILTER (WHERE NOT EXISTS (
        SELECT FROM settlement.bank_match AS x WHERE x.bank_entry_id = e.id)) AS open
    FROM settlement.bank_entry AS e WHERE e.bank_message_id = m.id
) AS e ON true;

COMMENT ON VIEW audit.bank_messages IS 'every file that a bank sent: its SHA-256, how many lines, how many of them are open';

-- A statement's bookings must lead from its opening to its closing balance.
CREATE VIEW audit.bank_statements AS
SELECT m.kind, m.message_id, s.statement_id, s.account, s.currency::text AS currency, s.opening_micros, b.booked_micros,
       s.closing_micros, s.closing_on, b.bookings, b.charges_micros,
       s.opening_micros + b.booked_micros = s.closing_micros AS adds_up, m.recorded_at
FROM settlement.bank_statement AS s
JOIN settlement.bank_message AS m ON m.id = s.bank_message_id
CROSS JOIN LATERAL (
    SELECT coalesce(sum(amount), 0) AS booked_micros, count(*) AS bookings, sum(charges) AS charges_micros
    FROM (SELECT e.entry, min(e.entry_micros) AS amount, sum(e.charges_micros) AS charges
          FROM settlement.bank_entry AS e
          WHERE e.bank_message_id = s.bank_message_id AND e.statement = s.number AND e.says <> 'noted'
          GROUP BY e.entry) AS e
) AS b;
COMMENT ON VIEW audit.bank_statements IS 'adds_up must not be false: opening + bookings = closing';

-- Every line of every message. Open: nobody has dealt with it yet.
CREATE VIEW audit.bank_lines AS
SELECT e.id AS entry_id, m.kind, m.message_id, m.name AS file, e.number, s.statement_id, e.says, e.status, e.reason,
       e.attempt_id, e.batch_id, e.file AS batch_file, e.reference, e.amount_micros, e.currency, e.charges_micros,
       e.booked_on, e.bank_reference, e.problem, x.result, x.reason AS dismissed_because, x.result IS NULL AS open,
       m.recorded_at, CURRENT_DATE - m.recorded_at::date AS days
FROM settlement.bank_entry AS e
JOIN settlement.bank_message AS m ON m.id = e.bank_message_id
LEFT JOIN settlement.bank_statement AS s ON s.bank_message_id = e.bank_message_id AND s.number = e.statement
LEFT JOIN LATERAL (SELECT max(x.result) AS result, max(x.reason) AS reason FROM settlement.bank_match AS x
                   WHERE x.bank_entry_id = e.id) AS x ON true;

COMMENT ON VIEW audit.bank_lines IS 'every line of every message of a bank, and what became of it; open: nobody has dealt with it yet';

-- Each payout that a bank was told of: what the ledger moved, what the bank booked, and what statements say she was paid.
-- A bank that booked money out and back has booked 0. Null: nothing of it has been reported in a file.
CREATE VIEW audit.payout_reconciliation AS
WITH line AS (
    SELECT coalesce(x.attempt_id, e.attempt_id) AS attempt_id, e.says, x.result IS NULL AS open,
           CASE WHEN e.attempt_id IS NOT NULL THEN e.amount_micros END AS amount
    FROM settlement.bank_entry AS e LEFT JOIN settlement.bank_match AS x ON x.bank_entry_id = e.id
    WHERE coalesce(x.attempt_id, e.attempt_id) IS NOT NULL AND x.result IS DISTINCT FROM 'dismissed'
    UNION ALL
    -- Lines of a whole file that wait: open for each of its attempts.
    SELECT t.attempt_id, e.says, true, NULL
    FROM settlement.bank_entry AS e
    JOIN settlement.payout AS p ON p.batch_id = e.batch_id
    JOIN settlement.payout_attempt AS t ON t.payout_id = p.payout_id AND t.file = e.file
    WHERE NOT EXISTS (SELECT FROM settlement.bank_match AS x WHERE x.bank_entry_id = e.id)
),
bank AS (
    SELECT attempt_id, count(*) FILTER (WHERE open) AS open,
           -- Statement and notification report the same booking: the largest is the booking.
           bool_or(says = 'paid') FILTER (WHERE NOT open) AS paid, max(abs(amount)) FILTER (WHERE says = 'paid' AND NOT open) AS paid_micros,
           bool_or(says = 'returned') FILTER (WHERE NOT open) AS returned,
           max(abs(amount)) FILTER (WHERE says = 'returned' AND NOT open) AS returned_micros
    FROM line GROUP BY attempt_id
),
payout AS (
    SELECT p.*, c.clearing, c.expected_clearing, c.finished, -c.bank AS ledger_micros,
           CASE WHEN b.paid OR b.returned THEN
               CASE WHEN b.paid THEN coalesce(b.paid_micros, p.amount_micros) ELSE 0 END
               - CASE WHEN b.returned THEN coalesce(b.returned_micros, p.amount_micros) ELSE 0 END
           END AS bank_micros,
           coalesce(b.open, 0) AS open_lines, CURRENT_DATE - p.execution_date AS days
    FROM audit.payouts AS p
    JOIN audit.payout_clearing AS c ON c.payout_id = p.payout_id
    LEFT JOIN bank AS b ON b.attempt_id = p.attempt_id
    WHERE p.attempt_id IS NOT NULL
),
stated AS (
    SELECT p.payout_id, s.statement_id,
           (SELECT (-1000000 * (e.value ->> 'amount')::numeric)::bigint
            FROM jsonb_array_elements(s.body::jsonb #> '{entries,payments}') AS e
            WHERE e.value ->> 'key' = j.key LIMIT 1) AS stated_micros
    FROM payout AS p
    JOIN ledger.journal AS j ON j.key = 'attempt:' || p.attempt_id || ':reserved'
    JOIN settlement.period AS q ON j.booked_at >= q.starts_at AND j.booked_at < q.ends_at
    JOIN settlement.statement AS s ON s.period_id = q.period_id AND s.payee_id = p.payee_id AND s.currency = p.currency
)
SELECT p.payout_id, p.batch_id, p.payee_id, p.currency, p.amount_micros, p.attempt_id, p.execution_date, p.state,
       p.state_since, p.finished, p.days, p.clearing, p.expected_clearing, p.ledger_micros, p.bank_micros, p.open_lines,
       s.statement_id, s.stated_micros,
       CASE
           WHEN p.clearing <> p.expected_clearing THEN 'clearing holds ' || p.clearing || ' instead of ' || p.expected_clearing
           WHEN p.bank_micros <> p.ledger_micros
               THEN 'the bank booked ' || p.bank_micros || ', the ledger ' || p.ledger_micros
           WHEN s.statement_id IS NOT NULL AND s.stated_micros IS DISTINCT FROM p.amount_micros
               THEN 'statement ' || s.statement_id || ' says ' || coalesce(s.stated_micros::text, 'nothing')
       END AS fault,
       CASE
           WHEN p.open_lines > 0 THEN p.open_lines || ' lines of the bank wait'
           WHEN p.state = 'unknown' THEN 'ask the bank what became of it'
           WHEN p.state = 'reserved' THEN 'the bank has not been told'
           WHEN NOT p.finished AND p.days > 3 THEN 'nothing booked after ' || p.days || ' days'
           WHEN p.state IN ('paid', 'returned') AND p.bank_micros IS NULL THEN 'settled by hand: no booking of the bank'
       END AS attention
FROM payout AS p LEFT JOIN stated AS s ON s.payout_id = p.payout_id;
COMMENT ON VIEW audit.payout_reconciliation IS
    'fault must be null: clearing, bank, ledger and statements agree on every payout; attention: what an operator does next';

RESET ROLE;
GRANT SELECT ON audit.bank_messages, audit.bank_statements, audit.bank_lines, audit.payout_reconciliation TO auditor;
