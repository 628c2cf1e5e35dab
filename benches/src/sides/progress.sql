-- How far the jobs of a prefix are, and how many positions a second they move, as `milepost::Rate`
-- defines it. That batches may be untimed is left out: those of the comparison are all timed.
--
-- History is walked backwards from the newest batch of a job or worker, a batch at a time and only
-- as far as the 15 minutes reach. That is faster than window functions over all of it.
WITH RECURSIVE
-- What is held under a live lease. The source of its rate is the job itself if it has moved under
-- that lease (its number), else its holder (minus its number). x'62656e6368' is the prefix.
held AS MATERIALIZED (
    SELECT id, worker, cursor, leased_cursor, lease_us, cursor - range_start AS done, batches, duration_us,
           max(leased_at, coalesce(checkpoint_at, leased_at)) AS moved_at,
           iif(cursor > leased_cursor, id, -worker) AS source
    FROM jobs WHERE prefix = x'62656e6368' AND status = 'leased' AND expires_at > :now
),
-- The newest batch of each source. Those of a job end at its cursor, and go back to `first`.
newest AS (
    SELECT source, leased_cursor AS first,
           (SELECT history.id FROM history NOT INDEXED
            WHERE job = held.id AND worker = held.worker AND range_end = cursor
            ORDER BY history.id DESC LIMIT 1) AS id
    FROM held WHERE source > 0
    UNION ALL
    SELECT source, -1,
           (SELECT history.id FROM history NOT INDEXED
            WHERE worker = -source AND (SELECT prefix FROM jobs WHERE jobs.id = job) = x'62656e6368'
            ORDER BY history.id DESC LIMIT 1)
    FROM (SELECT DISTINCT source FROM held WHERE source < 0)
),
-- Its batches, the newest first, up to the one in which the 15 minutes begin; of a holder, 16 at most.
batch AS (
    SELECT source, first, id, worker, range_start, range_end - range_start AS positions,
           finished_at - duration_us AS began, finished_at, finished_at - 900000000 AS opens, 1 AS place
    FROM newest JOIN history USING (id)
    UNION ALL
    SELECT source, first, older.id, older.worker, older.range_start, older.range_end - older.range_start,
           older.finished_at - older.duration_us, older.finished_at, opens, place + 1
    FROM batch JOIN history AS older ON older.id = iif(source > 0,
        (SELECT id FROM history NOT INDEXED
         WHERE id < batch.id AND job = source AND worker = batch.worker AND range_end = batch.range_start
         ORDER BY id DESC LIMIT 1),
        (SELECT id FROM history NOT INDEXED
         WHERE id < batch.id AND worker = batch.worker
         AND (SELECT prefix FROM jobs WHERE jobs.id = job) = x'62656e6368'
         ORDER BY id DESC LIMIT 1))
    -- If the clock was set back, there is no time from one batch to the other.
    WHERE began > opens AND batch.range_start > first AND older.finished_at <= batch.finished_at
      AND (source > 0 OR place < 16)
),
-- A job's own batches count with the pauses between them, those of a holder do not.
speed AS (
    SELECT source, count(*) AS batches, max(finished_at - began) AS longest,
           sum(positions * 1000000.0 * max(0, finished_at - max(began, opens)) / (finished_at - began))
           / iif(source > 0, max(finished_at) - max(min(began), opens),
                 sum(max(0, finished_at - max(began, opens)))) AS per_second
    FROM batch GROUP BY source HAVING per_second > 0
),
-- Where no batch is left in history, all that was ever done of a job stands in.
pace AS (
    SELECT moved_at, lease_us,
           coalesce(speed.batches, held.batches) AS batches,
           coalesce(speed.longest, 1.0 * held.duration_us / held.batches) AS longest,
           coalesce(speed.per_second, 1000000.0 * done / held.duration_us) AS per_second
    FROM held LEFT JOIN speed USING (source)
)
SELECT sum(cursor - range_start), sum(range_end - range_start),
       -- Without the jobs whose holders are silent.
       (SELECT sum(per_second) FROM pace WHERE :now - moved_at
            <= max(60000000, 3 * longest, iif(batches < 5, min(lease_us, 900000000), 0)))
FROM jobs WHERE prefix = x'62656e6368'
