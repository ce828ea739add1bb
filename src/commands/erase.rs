//! `telereel erase`: every trace of what a filter selects goes, and a search proves it.

use anyhow::bail;
use serde::Serialize;

use super::context::Context;
use super::output::{Out, print};
use super::selection::{Chosen, choose, require_known, unsealed};
use super::upkeep::Upkeep;
use super::{Outcome, Usage};
use crate::archive::{
    Archive, ArchiveError, EraseOptions, ErasePlan, Erased, Proof, ScanOptions, SessionSummary, Watch,
};
use crate::cli::{Erase, Filters};
use crate::clock::Clock;
use crate::units::{counted, human_count};

/// So many sessions, or devices, are named; more are counted.
const NAMED_MAX: usize = 5;

/// Never what was looked for: what is printed is kept, too.
#[derive(Debug, Serialize)]
struct Report {
    dry_run: bool,
    messages: u64,
    sessions: Vec<Erased>,
    /// Lines of `devices.csv`.
    devices_lines: u64,
    /// Devices whose names hold that of the erased one; they stay.
    other_devices: Vec<String>,
    /// Devices of the same name in another spelling: they go.
    also_devices: Vec<String>,
    /// What cannot be read, or failed, and so is as it was.
    unreadable: Vec<String>,
    /// None where nothing was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<Proof>,
}

pub(super) fn run(context: &Context, args: Erase) -> anyhow::Result<Outcome> {
    require_filter(&args.sessions, &args.filters)?;
    let upkeep = Upkeep::begin_to_remove(context, args.dry_run)?;
    let archive = &upkeep.archive;
    require_known(archive, &args.filters.vendor, &args.filters.source, &args.filters.kind)?;
    let now = Clock::System.now();
    let by_device = !args.filters.device.is_empty();
    let Chosen { sessions, options: mut scan } = choose(archive, &args.sessions, args.filters, now)?;
    let waiting = if args.dry_run { Vec::new() } else { take_out_unsealed(archive, &sessions, &mut scan)? };
    let options = EraseOptions { scan, all_sessions: args.sessions.is_empty(), at_us: now.wall_us };
    let goes_on = || upkeep.goes_on();
    let looking = |done, total| upkeep.progress().count(done, total, "messages looked at");
    let plan = match archive.plan_erase(options, &Watch { tell: &looking, goes_on: &goes_on }) {
        Err(ArchiveError::Interrupted) => bail!("interrupted: nothing was changed"),
        plan => plan?,
    };
    let mut report = Report {
        dry_run: args.dry_run,
        messages: 0,
        sessions: plan.sessions().cloned().collect(),
        devices_lines: plan.devices_lines,
        other_devices: plan.others.clone(),
        also_devices: plan.alike.clone(),
        unreadable: plan.unreadable.iter().cloned().chain(waiting).collect(),
        proof: None,
    };
    tell_limits(context, &plan);
    tell_unknown(context, &plan);
    if args.dry_run {
        // Done in earnest, it is sealed first.
        if let Some(unsealed) = unsealed(archive, &archive.list()?)? {
            context.screen.note(unsealed);
        }
        let outcome = upkeep.outcome;
        drop(upkeep);
        return end(context, report, by_device, &plan, outcome);
    }
    if !plan.is_empty() {
        upkeep.confirm(context, &question(&report.sessions), args.yes)?;
    }
    report.sessions.clear();
    let erasing = |done, total| upkeep.progress().count(done, total, "messages of a part");
    let ended = archive.erase(&plan, &Watch { tell: &erasing, goes_on: &goes_on }, &mut |erased| {
        report.sessions.push(erased);
    });
    match ended {
        Err(ArchiveError::Interrupted) => {
            print_report(context, &mut report, by_device)?;
            bail!("interrupted: what is said above is gone, the rest is as it was; erase again to go on")
        }
        ended => report.unreadable.extend(ended?),
    }
    upkeep.progress().say("making the index again");
    if let Err(error) = archive.forget_erased() {
        print_report(context, &mut report, by_device)?;
        return Err(anyhow::Error::from(error)
            .context("what is said above is gone, but the index was not made again"));
    }
    let searching = |done, total| {
        let what = if plan.is_whole() { "files searched" } else { "messages searched" };
        upkeep.progress().count(done, total, what);
    };
    match archive.prove_erased(&plan, &Watch { tell: &searching, goes_on: &goes_on }) {
        Err(ArchiveError::Interrupted) => {
            print_report(context, &mut report, by_device)?;
            bail!("interrupted in the search: what is said above is gone; erase again to have it proved")
        }
        proof => report.proof = Some(proof?),
    }
    let outcome = upkeep.outcome;
    drop(upkeep);
    end(context, report, by_device, &plan, outcome)
}

/// Leaves out the sessions of which some waits in the journal, where recovery found no room to seal it: sealed later, it
/// would bring back what is erased now. Says what they are.
fn take_out_unsealed(
    archive: &Archive,
    sessions: &[SessionSummary],
    scan: &mut ScanOptions,
) -> anyhow::Result<Vec<String>> {
    let mut waiting = Vec::new();
    for SessionSummary { session_id, name, .. } in sessions {
        if archive.unsealed_bytes(&[*session_id])? > 0 {
            scan.sessions.retain(|id| id != session_id);
            waiting.push(format!(
                "{name}: waits in the journal for room to be sealed; make some, `telereel recover`, and erase again"
            ));
        }
    }
    Ok(waiting)
}

/// Without a filter it would be all that there is, which is not what anybody means by it.
fn require_filter(sessions: &[String], filters: &Filters) -> Result<(), Usage> {
    let Filters { source, vendor, kind, device, channel, filter, from, to } = filters;
    let lists = [source, vendor, kind, device, channel];
    if device.iter().any(|device| device.trim().is_empty()) {
        return Err(Usage("--device: an empty name is no device's".into()));
    }
    if lists.iter().all(|list| list.is_empty()) && filter.is_none() && from.is_none() && to.is_none() {
        return Err(Usage(
            "erase what? Give a filter, as in --device ID, or --source NAME with --from and --to; \
             a whole session goes by `telereel rm`"
                .into(),
        ));
    }
    if sessions.is_empty() && from.iter().chain(to).any(|moment| !moment.is_absolute()) {
        return Err(Usage("a time as in `+90s` counts from a session's start: which session?".into()));
    }
    Ok(())
}

fn tell_limits(context: &Context, plan: &ErasePlan) {
    if !plan.alike.is_empty() {
        context
            .screen
            .note(format!("go as well, being the same name in another spelling: {}", some(&plan.alike)));
    }
    for device in plan.indistinct() {
        context.screen.note(format!(
            "`{device}` could be any number or word: it is not looked for in texts, only what has it as device_id goes"
        ));
    }
    if !plan.others.is_empty() {
        context.screen.note(format!(
            "other devices whose names hold it stay: {}; name them as well if they are to go",
            some(&plan.others)
        ));
    }
}

/// Of many names the first.
fn some(names: &[String]) -> String {
    let first = names.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > NAMED_MAX { first + ", …" } else { first }
}

/// A name that is misspelled is found nowhere, and that would pass for a proof.
fn tell_unknown(context: &Context, plan: &ErasePlan) {
    for (device, nearest) in &plan.unknown {
        let nearest =
            if nearest.is_empty() { String::new() } else { format!(": nearest {}", nearest.join(", ")) };
        context.screen.note(format!("no message is of a device `{device}`{nearest}"));
    }
}

fn question(sessions: &[Erased]) -> String {
    let messages: u64 = sessions.iter().map(|erased| erased.messages).sum();
    let mut words: Vec<String> = sessions.iter().take(NAMED_MAX).map(words).collect();
    if sessions.len() > NAMED_MAX {
        words.push(format!("and of {} more", counted((sessions.len() - NAMED_MAX) as u64, "session")));
    }
    format!("erase {}, {}", counted(messages, "message"), words.join("; "))
}

fn words(erased: &Erased) -> String {
    let mut text = format!("{}: {}", erased.session, counted(erased.messages, "message"));
    let mut parts: Vec<String> =
        erased.kinds.iter().map(|(kind, count)| format!("{kind} {}", human_count(*count))).collect();
    if erased.only_name_it > 0 {
        parts.push(format!("{} of them only name it", human_count(erased.only_name_it)));
    }
    if !parts.is_empty() {
        text.push_str(&format!(" ({})", parts.join(", ")));
    }
    if erased.unread > 0 {
        text.push_str(&format!(", {} of them in damaged segments and unread", human_count(erased.unread)));
    }
    if !erased.beside.is_empty() {
        text.push_str(&format!(", beside them {}", erased.beside.join(", ")));
    }
    text
}

fn end(
    context: &Context,
    mut report: Report,
    by_device: bool,
    plan: &ErasePlan,
    outcome: Outcome,
) -> anyhow::Result<Outcome> {
    let unsearched = report.proof.iter().flat_map(|proof| &proof.unsearched);
    let unsearched =
        unsearched.filter(|found| !report.unreadable.iter().any(|what| what.contains(&found.path)));
    let unsearched: Vec<String> = unsearched.map(|found| format!("{}: {}", found.path, found.what)).collect();
    report.unreadable.extend(unsearched);
    print_report(context, &mut report, by_device)?;
    let found = report.proof.iter().flat_map(|proof| &proof.found);
    let left: Vec<String> = found.map(|found| format!("{}: {}", found.path, found.what)).collect();
    if !left.is_empty() {
        let whose = if plan.is_whole() { "it is still named in" } else { "something is left in" };
        bail!("{whose}\n{}", left.join("\n"));
    }
    let unread = report.sessions.iter().any(|erased| erased.unread > 0);
    Ok(if unread || !report.unreadable.is_empty() { Outcome::Lossy } else { outcome })
}

fn print_report(context: &Context, report: &mut Report, by_device: bool) -> anyhow::Result<()> {
    report.messages = report.sessions.iter().map(|erased| erased.messages).sum();
    print(context.json, report, |out| for_people(out, report, by_device))
}

fn for_people(out: &mut Out, report: &Report, by_device: bool) -> anyhow::Result<()> {
    let verb = if report.dry_run { "would erase" } else { "erased" };
    for erased in &report.sessions {
        out.line(format!("{verb} {}", words(erased)))?;
    }
    if report.devices_lines > 0 {
        out.line(format!("{verb} {} of devices.csv", counted(report.devices_lines, "line")))?;
    }
    if report.sessions.is_empty() && report.devices_lines == 0 {
        out.line("nothing is selected: there is nothing to erase")?;
    }
    if let Some(proof) = &report.proof {
        let (messages, segments) = (counted(proof.messages, "message"), counted(proof.segments, "segment"));
        let searched = if proof.whole {
            format!(
                "searched every text of {messages} in {segments}, and every byte of {}, the index among them",
                counted(proof.files, "other file")
            )
        } else {
            format!("searched {messages} in {segments} for what the filter selects")
        };
        out.line(match proof.found.len() {
            0 if report.unreadable.is_empty() => format!("{searched}: nothing is left"),
            0 => format!("{searched}: nothing is left in these"),
            count => format!("{searched}: something is left in {}", counted(count as u64, "place")),
        })?;
        if by_device && !proof.whole {
            out.line("what lies outside of these sessions, times or filters was not searched")?;
        }
        out.line("files that were exported or copied before are not reached")?;
    }
    if !report.unreadable.is_empty() {
        out.line("these are as they were, and of them nothing is proved; what is damaged goes by `telereel rm SESSION`:")?;
        report.unreadable.iter().try_for_each(|what| out.line(format!("  {what}")))?;
    }
    if report.dry_run {
        out.line("a dry run: nothing was changed")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::tests::support::{header, message, quick_dir, record};

    #[test]
    fn a_session_of_which_some_is_not_sealed_is_left_out_and_told() {
        let dir = quick_dir();
        let archive = Archive::create_or_open(dir.path().join("a"), "").unwrap();
        for id in [1, 2] {
            let mut header = header(id);
            archive.begin_session(&mut header).unwrap();
            if id == 2 {
                let waits = message(&header, 0, "other", 0, "{}");
                record(archive.disk(), &archive, &header, &[waits], 1_000);
            }
        }
        let sessions = archive.list().unwrap();
        let ids: Vec<_> = sessions.iter().map(|session| session.session_id).collect();
        let mut scan = ScanOptions { sessions: ids.clone(), ..ScanOptions::default() };
        let told = take_out_unsealed(&archive, &sessions, &mut scan).unwrap();
        assert_eq!(scan.sessions, ids[..1]);
        assert!(told.len() == 1 && told[0].starts_with("walk-2: waits in the journal"), "{told:?}");
    }
}
