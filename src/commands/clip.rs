//! `telereel clip SESSION NAME`: name a stretch of a session, or forget the name.

use anyhow::bail;
use serde::Serialize;

use super::context::Context;
use super::output::print;
use super::record::session_name;
use super::selection::{bound, reversed, skipped_told};
use super::{Outcome, Usage};
use crate::archive::{self, Skipped, SkippedSegment};
use crate::cli::Clip;
use crate::clock::Clock;
use crate::message::SessionId;
use crate::units::human_count;

/// What `--json` prints.
#[derive(Serialize)]
struct Told<'a> {
    session_id: SessionId,
    session: &'a str,
    #[serde(flatten)]
    clip: &'a archive::Clip,
    /// Damaged segments that could not be asked where the stretch begins and ends.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    skipped: &'a [SkippedSegment],
}

pub(super) fn run(context: &Context, args: Clip) -> anyhow::Result<Outcome> {
    let archive = context.archive_to_write()?;
    if let Some(name) = &args.remove {
        let (session_id, clip) = archive.remove_clip(name)?;
        let session = archive.resolve(&session_id.to_string())?.name;
        print(context.json, &Told { session_id, session: &session, clip: &clip, skipped: &[] }, |out| {
            out.line(format!("{name} is no clip of {session} any more; its messages stay"))
        })?;
        return Ok(Outcome::Done);
    }
    let (Some(session), Some(name)) = (args.session, args.name) else {
        return Err(Usage("which session, and what to call the clip?".into()).into());
    };
    session_name("NAME", &name)?;
    if args.from.is_none() && args.to.is_none() {
        return Err(Usage("a clip is a stretch: give --from, --to or both".into()).into());
    }
    let now = Clock::System.now();
    let (from, to) = (args.from.map(|moment| bound(moment, now)), args.to.map(|moment| bound(moment, now)));
    if reversed(from, to) {
        return Err(Usage("--to is not after --from: nothing lies between them".into()).into());
    }
    let session = archive.resolve(&session)?;
    let skipped = args.skip_damaged.then(Skipped::default);
    // In this order: what is sealed in between is in the clip, and its end would pass for one that was asked for.
    let sealed = archive.seqs_between(session.session_id, None, None, None)?;
    let seqs = archive.seqs_between(session.session_id, from, to, skipped.as_ref())?;
    let skipped = skipped.map(|skipped| skipped.segments()).unwrap_or_default();
    if session.ended_at_us.is_none() && seqs.end >= sealed.end {
        bail!(
            "{} is not over, and what follows its message {} is not sealed yet: a clip would end there. Try again \
             when the next part is sealed (segment_max_age), or when the recording has ended",
            session.name,
            sealed.end.saturating_sub(1)
        );
    }
    if seqs.is_empty() {
        bail!("nothing was recorded in {} between these times: see `telereel info {0}`", session.name);
    }
    let clip = archive::Clip { name, seq_from: seqs.start, seq_to: seqs.end, note: args.note };
    archive.add_clip(session.session_id, clip.clone())?;
    let told =
        Told { session_id: session.session_id, session: &session.name, clip: &clip, skipped: &skipped };
    print(context.json, &told, |out| {
        let count = human_count(seqs.end - seqs.start);
        out.line(format!(
            "{} is messages {} to {} of {}: {count}",
            clip.name,
            seqs.start,
            seqs.end - 1,
            session.name
        ))
    })?;
    Ok(skipped_told(context, &skipped))
}
