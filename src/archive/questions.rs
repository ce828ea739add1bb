//! The page of example questions: `views/questions.md` in every archive.
//!
//! Each question is a few files in `schema/questions`: its text, the same question in SQL, pandas and Polars, and the
//! answer that a test gets with all three, and from the payloads.

use std::fmt::Write;

/// A question, and how to ask it.
#[derive(Debug)]
struct Question {
    text: &'static str,
    sql: &'static str,
    pandas: &'static str,
    polars: &'static str,
    /// CSV without quotes.
    answer: &'static str,
}

macro_rules! question {
    ($name:literal) => {
        Question {
            text: include_str!(concat!("../../schema/questions/", $name, ".md")),
            sql: include_str!(concat!("../../schema/questions/", $name, ".sql")),
            pandas: include_str!(concat!("../../schema/questions/", $name, ".pandas.py")),
            polars: include_str!(concat!("../../schema/questions/", $name, ".polars.py")),
            answer: include_str!(concat!("../../schema/questions/", $name, ".csv")),
        }
    };
}

const HEAD: &str = include_str!("../../schema/views/questions.md");

const QUESTIONS: [Question; 10] = [
    question!("falls_last_night"),
    question!("minutes_in_bed"),
    question!("who_was_in_which_zone"),
    question!("empty_room_or_no_data"),
    question!("speeding_per_device_and_day"),
    question!("data_loss_per_day"),
    question!("alarm_latency"),
    question!("a_field_without_a_column"),
    question!("geofence_crossings"),
    question!("dwell_times"),
];

/// The page, as Markdown.
pub fn questions() -> String {
    let mut page = HEAD.to_owned();
    for Question { text, sql, pandas, polars, answer } in &QUESTIONS {
        let _ = write!(
            page,
            "\n{text}\n```sql\n{sql}```\n\n{}\n```python\n{pandas}```\n\n```python\n{polars}```\n",
            table(answer)
        );
    }
    page
}

fn table(csv: &str) -> String {
    let mut table = String::new();
    for (n, line) in csv.lines().enumerate() {
        let cells: Vec<&str> = line.split(',').collect();
        let _ = writeln!(table, "| {} |", cells.join(" | "));
        if n == 0 {
            let _ = writeln!(table, "|{}", "---|".repeat(cells.len()));
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_each_question_three_times_and_its_answer() {
        let page = questions();
        assert_eq!(page.matches("\n## ").count(), QUESTIONS.len());
        assert_eq!(page.matches("\n```sql\n").count(), QUESTIONS.len());
        assert_eq!(page.matches("\n```python\n").count(), 2 * QUESTIONS.len());
        assert_eq!(page.matches("\n|---|").count(), QUESTIONS.len());
        assert!(
            QUESTIONS.iter().all(|question| !question.answer.contains('"')),
            "the table does not unquote"
        );
        assert!(page.contains("| device_id | minutes_in_bed |\n|---|---|\n| ATR_GN_P4-"));
    }
}
