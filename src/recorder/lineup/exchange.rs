//! Other sources while it records.

use super::setup::{Setup, set_up};
use super::{Changes, Lineup, Member, Seat, Waiting, end};
use crate::message::SourceHeader;
use crate::recorder::roll;
use crate::recorder::start::{RecordError, run_blocking};
use crate::recorder::status::Watched;
use crate::vendors::{self, Source};

impl Lineup {
    /// Records these sources from now on. An error has changed nothing.
    pub(super) async fn reload(&mut self, sources: &[Source]) -> Result<Changes, RecordError> {
        let to_read = sources.to_vec();
        let setups = run_blocking(move || set_up(&to_read)).await??;
        let mut changes = Changes::default();
        let mut leaving: Vec<usize> = Vec::new();
        let mut coming: Vec<Setup> = Vec::new();
        for (index, seat) in self.seats.iter().enumerate() {
            let Some(member) = &seat.member else { continue };
            // One that is over is begun anew even as it was.
            if !member.is_over() && setups.iter().any(|setup| setup.is_same(&member.setup)) {
                changes.kept += 1;
            } else {
                leaving.push(index);
                let name = &member.setup.source.name;
                if !sources.iter().any(|source| source.name == *name) {
                    changes.removed.push(name.clone());
                }
            }
        }
        for setup in setups {
            let members = self.seats.iter().map(|seat| seat.member.as_ref()).enumerate();
            let mut members = members.filter_map(|(index, member)| Some((index, member?)));
            let name = setup.source.name.clone();
            match members.find(|(_, member)| member.setup.source.name == name) {
                Some((index, _)) if !leaving.contains(&index) => continue,
                Some(_) => changes.changed.push(name),
                None => changes.added.push(name),
            }
            coming.push(setup);
        }
        if leaving.is_empty() && coming.is_empty() {
            return Ok(changes);
        }

        let placed = self.places(&leaving, coming);
        let mut headers: Vec<SourceHeader> = self.seats.iter().map(|seat| seat.header.clone()).collect();
        for (index, setup) in &placed {
            let header = vendors::source_header(&setup.source);
            match headers.get_mut(*index) {
                Some(place) => *place = header,
                None => headers.push(header),
            }
        }
        let is_taken = |index: &usize| {
            let stays = self.seats.get(*index).is_some_and(|seat| seat.member.is_some());
            (stays && !leaving.contains(index)) || placed.iter().any(|(taken, _)| taken == index)
        };
        let len = (0..headers.len()).rev().find(is_taken).map_or(0, |last| last + 1);
        headers.truncate(len);
        let begun = roll::begin(self.base_name.as_deref(), &self.running, headers.clone()).await?;

        // Nothing is refused from here on.
        for setup in placed.iter().map(|(_, setup)| setup) {
            for warning in setup.source.warnings() {
                tracing::warn!("{}: {warning}", setup.source.name);
            }
        }
        let left: Vec<Member> = leaving.iter().filter_map(|index| self.seats[*index].member.take()).collect();
        self.seats.truncate(len);
        for (seat, header) in self.seats.iter_mut().zip(&headers) {
            seat.header = header.clone();
        }
        self.seats
            .extend(headers.into_iter().skip(self.seats.len()).map(|header| Seat { header, member: None }));
        let waiting: Vec<Waiting> = placed
            .into_iter()
            .map(|(index, setup)| {
                let watched = self.running.watch(&self.seats[index].header);
                self.wait(index, setup, watched)
            })
            .collect();
        self.open_doors(&waiting);
        end(left).await;
        let orders = self.orders();
        let crossed = roll::cross(&self.running, orders, begun).await;
        self.seat(waiting);
        let names: Vec<&str> = sources.iter().map(|source| &*source.name).collect();
        let members = self.seats.iter().filter_map(|seat| seat.member.as_ref());
        let mut watched: Vec<Watched> = members.map(|member| member.watched.clone()).collect();
        watched.sort_by_key(|watched| names.iter().position(|name| *name == watched.stats.name));
        self.running.line_up(watched);
        crossed.map(|()| changes)
    }

    /// A seat for each that comes: its own of before, else one that is free, else a new one.
    fn places(&self, leaving: &[usize], coming: Vec<Setup>) -> Vec<(usize, Setup)> {
        let is_free = |index: usize| self.seats[index].member.is_none() || leaving.contains(&index);
        let mut free: Vec<usize> = (0..self.seats.len()).filter(|index| is_free(*index)).collect();
        let mut next = self.seats.len();
        let mut placed: Vec<(usize, Setup)> = Vec::new();
        let (own, other): (Vec<Setup>, Vec<Setup>) = coming
            .into_iter()
            .partition(|setup| free.iter().any(|index| self.seats[*index].header.name == setup.source.name));
        for setup in own {
            let own = free.iter().position(|index| self.seats[*index].header.name == setup.source.name);
            if let Some(at) = own {
                placed.push((free.remove(at), setup));
            }
        }
        for setup in other {
            let index = if free.is_empty() {
                next += 1;
                next - 1
            } else {
                free.remove(0)
            };
            placed.push((index, setup));
        }
        placed
    }
}
