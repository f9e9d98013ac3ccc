//! Splits large tables into ranges, which several connections read.

use std::sync::PoisonError;

use reprise_mysql::sql::{qualify_name, quote_name};
use reprise_mysql::{DatabaseError, Session};

use crate::error::Result;
use crate::mysql::dump::rows::read_queue::{
    KeyRange, RANGE_BYTES, ReadQueue, ReadTask, TableReadRequest,
};
use crate::mysql::dump::schema::keys::{ScanKey, SplitMethod};

impl ReadQueue<'_> {
    pub(crate) fn split_table(&self, session: &mut Session, n: usize) -> Result<()> {
        let TableReadRequest { plan, table, .. } = &self.requests[n];
        if !plan.has_rows {
            return Ok(());
        }
        let large = plan.bytes_estimate > RANGE_BYTES * 2;
        let key = plan.key.as_ref().filter(|_| large && table.consistent);
        match key.map(|key| (key, key.split_method())) {
            Some((key, SplitMethod::IntegerRanges)) => self.split_by_integers(session, n, key),
            Some((key, SplitMethod::RowCounts)) => self.split_by_row_counts(session, n, key),
            _ => self.read_range(session, n, &KeyRange::Whole),
        }
    }

    /// Ranges of equal width. Their bounds are multiples of it, so that they stay when rows are added.
    fn split_by_integers(&self, session: &mut Session, n: usize, key: &ScanKey) -> Result<()> {
        let reading = &self.requests[n];
        let (column, _) = &key.columns[0];
        let statement = format!(
            "SELECT MIN({0}), MAX({0}) FROM {1}",
            quote_name(column),
            qualify_name(reading.database, &reading.table.name)
        );
        let row = session.query_row(statement).map_err(self.read_error(n))?;
        let (Some(min), Some(max)) = (row.number::<i128>(0), row.number::<i128>(1)) else {
            return self.read_range(session, n, &KeyRange::Whole);
        };
        let parts = i128::from((reading.plan.bytes_estimate / RANGE_BYTES).max(1));
        let width = range_width(max - min, parts);
        let first = (min.div_euclid(width) + 1) * width;
        let mut tasks = Vec::new();
        let mut from = None;
        let mut border = first;
        while border <= max {
            tasks.push(ReadTask::ReadRange(
                n,
                KeyRange::Integers {
                    from,
                    to: Some(border),
                },
            ));
            from = Some(border);
            border += width;
        }
        tasks.push(ReadTask::ReadRange(
            n,
            KeyRange::Integers { from, to: None },
        ));
        tasks.push(ReadTask::CountRows(n));
        self.add_tasks(tasks);
        Ok(())
    }

    /// Ranges of equal row counts, found by walking along the key. Other readers read meanwhile.
    fn split_by_row_counts(&self, session: &mut Session, n: usize, key: &ScanKey) -> Result<()> {
        let reading = &self.requests[n];
        let row_bytes = reading.plan.bytes_estimate / reading.plan.rows_estimate.max(1);
        let step = (RANGE_BYTES / row_bytes.max(1)).max(1000);
        let mut lower: Option<Vec<String>> = None;
        for place in 0.. {
            let after = lower.as_ref().map_or_else(String::new, |bound| {
                format!(" WHERE {}", key.at_or_after_condition(bound))
            });
            let statement = format!(
                "SELECT {0} FROM {1} FORCE INDEX ({2}){after} ORDER BY {0} LIMIT {step}, 1",
                key.column_list(),
                qualify_name(reading.database, &reading.table.name),
                quote_name(&key.name),
            );
            self.check_interrupted()?;
            let row = session
                .query_rows(statement)
                .map_err(self.read_error(n))?
                .into_iter()
                .next();
            let upper = match row {
                Some(row) => Some(key.bound_literals(&row).ok_or_else(|| {
                    self.read_error(n)(DatabaseError::UnexpectedResponse(
                        "a key column has a NULL or malformed value".to_owned(),
                    ))
                })?),
                None => None,
            };
            let parts = [
                lower.as_ref().map(|bound| key.at_or_after_condition(bound)),
                upper.as_ref().map(|bound| key.before_condition(bound)),
            ];
            let conditions: Vec<String> = parts.into_iter().flatten().collect();
            let range = match conditions.is_empty() {
                true => KeyRange::Whole,
                false => KeyRange::Condition {
                    index: place,
                    condition: conditions.join(" AND "),
                },
            };
            let mut tasks = vec![ReadTask::ReadRange(n, range)];
            if upper.is_none() && place > 0 {
                tasks.push(ReadTask::CountRows(n));
            }
            self.add_tasks(tasks);
            if upper.is_none() {
                break;
            }
            lower = upper;
        }
        Ok(())
    }

    pub(crate) fn count_rows(&self, session: &mut Session, n: usize) -> Result<()> {
        let reading = &self.requests[n];
        let name = qualify_name(reading.database, &reading.table.name);
        let row = session
            .query_row(format!("SELECT COUNT(*) FROM {name}"))
            .map_err(self.read_error(n))?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.server_row_counts[n] = row.number(0);
        Ok(())
    }

    /// The rows of a crowded range after the last one that was read, in halves.
    pub(crate) fn split_remaining_range(
        &self,
        session: &mut Session,
        n: usize,
        last: i128,
        to: Option<i128>,
    ) -> Result<()> {
        let reading = &self.requests[n];
        let end = match (to, &reading.plan.key) {
            (Some(to), _) => to,
            (None, Some(key)) => {
                let statement = format!(
                    "SELECT MAX({}) FROM {}",
                    quote_name(&key.columns[0].0),
                    qualify_name(reading.database, &reading.table.name)
                );
                let row = session.query_row(statement).map_err(self.read_error(n))?;
                row.number::<i128>(0).unwrap_or(last) + 1
            }
            (None, None) => last + 1,
        };
        let middle = last + 1 + (end - last - 1) / 2;
        let first = KeyRange::Integers {
            from: Some(last + 1),
            to: Some(middle),
        };
        let second = KeyRange::Integers {
            from: Some(middle),
            to,
        };
        self.add_tasks(vec![
            ReadTask::ReadRange(n, first),
            ReadTask::ReadRange(n, second),
        ]);
        Ok(())
    }
}

/// The width of ranges: a power of two, so that it rarely changes.
fn range_width(span: i128, parts: i128) -> i128 {
    let wanted = (span / parts).max(1);
    let mut width = 1;
    while width * 2 <= wanted {
        width *= 2;
    }
    width
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_a_width_that_growth_rarely_changes() {
        assert_eq!(range_width(1_000_000, 10), 65_536);
        assert_eq!(range_width(1_200_000, 10), 65_536);
        assert_eq!(range_width(0, 10), 1);
        assert_eq!(range_width(i128::from(u64::MAX), 4), 1 << 61);
    }
}
