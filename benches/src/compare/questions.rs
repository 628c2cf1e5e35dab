//! The questions of a dashboard, at full tiers, while a writer runs.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;

use super::comparison::Comparison;
use crate::dashboard::Question;
use crate::plan::Scale;
use crate::report::{Ratio, Target};
use crate::rival::Rival;
use crate::run::{Entry, Length, latencies, nanos};
use crate::sides::{Flush, Mode, Side};

/// Every side, milepost last.
const SIDES: [Side; 3] = [
    Side::SqliteTriggers(Flush::Full),
    Side::SqliteTuned(Flush::Full),
    Side::Milepost(Mode::Immediate),
];
const TUNED: usize = 1;
const OURS: usize = 2;

pub(super) fn run(comparison: &mut Comparison) -> Result<()> {
    ask(comparison, &Scale::TEN, "10 workers", &Question::ALL)?;
    let by_worker = [Question::Leaderboard, Question::Kinds, Question::Active];
    ask(comparison, &Scale::THOUSAND, "1,000 workers", &by_worker)
}

fn ask(
    comparison: &mut Comparison,
    scale: &Scale,
    workers: &str,
    questions: &[Question],
) -> Result<()> {
    let mut entries = Vec::new();
    for side in SIDES {
        let mut entry = comparison.entry(side, scale)?;
        entry.alone(Length { count: 100, ..Length::LONG })?;
        entries.push(entry);
    }
    agree(&entries, questions)?;

    let length = Length {
        count: comparison.extent.pick(100, 300),
        most: comparison.extent.pick(Duration::from_millis(40), Duration::from_secs(3)),
    };
    // By question and side, a histogram of each round.
    let mut found = vec![vec![Vec::new(); SIDES.len()]; questions.len()];
    for _ in 0..comparison.extent.rounds() {
        for (at, question) in questions.iter().enumerate() {
            for (entry, found) in entries.iter_mut().zip(&mut found[at]) {
                found.push(entry.while_writing(|rival| time(rival, *question, length))?);
            }
        }
    }
    entries.iter().try_for_each(Entry::check)?;
    for (question, rounds) in questions.iter().zip(&found) {
        record(comparison, *question, workers, rounds)?;
    }
    Ok(())
}

/// Every side holds the same by now, so every side has to say the same.
fn agree(entries: &[Entry], questions: &[Question]) -> Result<()> {
    let mut ours = entries[OURS].rival.reader()?;
    for entry in &entries[..OURS] {
        let mut theirs = entry.rival.reader()?;
        for question in questions {
            let (own, other) = (ours.ask(*question)?, theirs.ask(*question)?);
            ensure!(
                own.agrees_with(&other),
                "{} gives another answer than milepost: {}: {other:?}, not {own:?}",
                entry.side,
                question.words()
            );
        }
    }
    Ok(())
}

/// The times of a question that is asked again and again, once warm.
fn time(rival: &dyn Rival, question: Question, length: Length) -> Result<Histogram<u64>> {
    let mut reader = rival.reader()?;
    reader.ask(question)?;
    let mut latency = latencies();
    let began = Instant::now();
    while latency.len() < length.count && began.elapsed() < length.most {
        let started = Instant::now();
        reader.ask(question)?;
        latency.saturating_record(nanos(started.elapsed()));
    }
    Ok(latency)
}

fn record(
    comparison: &mut Comparison,
    question: Question,
    workers: &str,
    rounds: &[Vec<Histogram<u64>>],
) -> Result<()> {
    let row = format!("{}, {workers}", question.words());
    for (side, rounds) in SIDES.iter().zip(rounds) {
        let mut all = latencies();
        for round in rounds {
            all.add(round)?;
        }
        for (column, quantile) in [("p50", 0.5), ("p99", 0.99)] {
            let time = all.value_at_quantile(quantile) as f64 / 1e6;
            comparison.report.figure(format!("{row}: {column}"), side, time, "ms", all.len());
        }
    }
    let at = |side: usize, quantile: f64| -> Vec<f64> {
        rounds[side].iter().map(|round| round.value_at_quantile(quantile) as f64 / 1e6).collect()
    };
    let most = if question.of_one_worker() { 2.0 } else { 10.0 };
    comparison.report.ratios.push(Ratio::own(
        format!("{row}: p99 of milepost in ms"),
        &at(OURS, 0.99),
        Target::AtMost(most),
    ));
    let target = if question.is_compared() { Target::AtLeast(3.0) } else { Target::None };
    comparison.report.ratios.push(Ratio::faster(
        format!("{row}: times faster than sqlite-tuned, p50"),
        &at(OURS, 0.5),
        &at(TUNED, 0.5),
        target,
    ));
    Ok(())
}
