SELECT to_timestamp(offset_s + (floor((extract(epoch FROM after) - offset_s) / period_s) + 1) * period_s)
FROM (SELECT interval_hours * 3600 AS period_s,
             mod(mod(hashtextextended(agent_url, 0), interval_hours * 3600) + interval_hours * 3600,
                 interval_hours * 3600) AS offset_s) AS slots
