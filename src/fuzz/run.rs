//! Trying cases, and telling of one that fails.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;
use rustix::time::{ClockId, clock_gettime};

use super::mutation::Mutator;
use super::{CASES, Target, corpus};

/// What a case may take of the processor: slow machines and builds have room in it, and nothing that grows with the
/// square of its input has.
const CPU_S_MAX: f64 = 5.0;

/// How often is looked whether a case goes on for ever, and how often it may be the same: five minutes.
const LOOK: Duration = Duration::from_secs(30);
const LOOKS: u32 = 10;

/// Tries to make a failing case shorter.
const SHORTENINGS: u32 = 2_000;

fn asked(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is to be a number, not {text:?}")))
}

/// The processor's time of this thread: a busy machine makes no case slow.
fn cpu_s() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

impl Target {
    /// Tries all inputs as they are, then cases made of them. `check` says whether a case was read, or refused.
    pub(crate) fn run(mut self, check: impl Fn(&[u8]) -> bool) {
        let kept = corpus::kept(self.name);
        let mut read = 0;
        for (name, input) in &kept {
            let tried = self.attempt(input, &check);
            read +=
                u64::from(tried.unwrap_or_else(|why| panic!("fixtures/fuzz/{}/{name}: {why}", self.name)));
        }
        for (n, input) in self.inputs.iter().enumerate() {
            let tried = self.attempt(input, &check);
            read +=
                u64::from(tried.unwrap_or_else(|why| panic!("{}: input {n} of our own: {why}", self.name)));
        }
        assert!(read > 0, "{}: no input is right", self.name);
        self.inputs.extend(kept.into_iter().map(|(_, input)| input));

        if let Some(seed) = asked("TELEREEL_SEED") {
            return match self.attempt(&self.case(seed), &check) {
                Ok(read) => {
                    println!("{}: case {seed} holds ({})", self.name, if read { "read" } else { "refused" })
                }
                Err(why) => self.fail(seed, &why, &check),
            };
        }
        let cases = asked("TELEREEL_CASES").map_or(self.cases, |asked| (asked * self.cases).div_ceil(CASES));
        let (at, read) = (AtomicU64::new(0), Cell::new(0_u64));
        std::thread::scope(|scope| {
            let (alive, ended) = channel::<()>();
            let (name, at) = (self.name, &at);
            scope.spawn(move || watch(name, at, &ended));
            for seed in 0..cases {
                at.store(seed, Ordering::Relaxed);
                match self.attempt(&self.case(seed), &check) {
                    Ok(was_read) => read.set(read.get() + u64::from(was_read)),
                    Err(why) => self.fail(seed, &why, &check),
                }
            }
            drop(alive);
        });
        println!("{}: {cases} cases, {} of them read", self.name, read.get());
    }

    /// The case of a seed: the same for as long as the inputs are.
    pub(super) fn case(&self, seed: u64) -> Vec<u8> {
        let mut rng = Pcg64::seed_from_u64(seed);
        let mut bytes = Mutator { inputs: &self.inputs, words: &self.words }.case(&mut rng);
        if let Some(mend) = self.mend.filter(|_| rng.random()) {
            mend(&mut bytes);
        }
        bytes
    }

    /// Whether an input was read; or what is wrong with how it was treated.
    fn attempt(&self, input: &[u8], check: &dyn Fn(&[u8]) -> bool) -> Result<bool, String> {
        let (mut outcome, begun_s) = (Ok(false), cpu_s());
        let counted = allocation_counter::measure(|| {
            outcome = catch_unwind(AssertUnwindSafe(|| check(input)));
        });
        let read = outcome.map_err(|panic| words(&*panic))?;
        let (bytes, most) = (counted.bytes_max, self.memory.0 + self.memory.1 * input.len() as u64);
        if bytes > most {
            return Err(format!("{bytes} bytes of memory for {} of input; {most} are the most", input.len()));
        }
        let took_s = cpu_s() - begun_s;
        if took_s > CPU_S_MAX {
            return Err(format!("{took_s:.1} s for {} bytes of input", input.len()));
        }
        Ok(read)
    }

    fn fail(&self, seed: u64, why: &str, check: &dyn Fn(&[u8]) -> bool) -> ! {
        let name = self.name;
        let bytes = self.shortened(self.case(seed), check);
        let why = self.attempt(&bytes, check).err().unwrap_or_else(|| why.to_owned());
        let found = Path::new("target/fuzz");
        let path: PathBuf = found.join(format!("{name}-{seed}"));
        let written = std::fs::create_dir_all(found).and_then(|()| std::fs::write(&path, &bytes));
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        panic!(
            "{name}: case {seed}: {why}\nits {} bytes, {}: {}\nrepeat with: TELEREEL_SEED={seed} cargo test --lib {test}\n\
             when it is mended: mv {} fixtures/fuzz/{name}/WHAT_IT_IS",
            bytes.len(),
            if written.is_ok() { "also in the file below" } else { "which could not be written" },
            bytes[..bytes.len().min(500)].escape_ascii(),
            path.display(),
        );
    }

    /// What still fails of a case, in fewer bytes.
    fn shortened(&self, mut bytes: Vec<u8>, check: &dyn Fn(&[u8]) -> bool) -> Vec<u8> {
        let mut left = SHORTENINGS;
        let mut step = bytes.len() / 2;
        while step > 0 {
            let mut at = 0;
            while at < bytes.len() && left > 0 {
                left -= 1;
                let fewer = [&bytes[..at], &bytes[(at + step).min(bytes.len())..]].concat();
                if self.attempt(&fewer, check).is_err() {
                    bytes = fewer;
                } else {
                    at += step;
                }
            }
            step /= 2;
        }
        bytes
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panics".to_owned())
}

/// Ends the process where a case goes on for ever: nobody could say which it was.
fn watch(target: &str, at: &AtomicU64, ended: &std::sync::mpsc::Receiver<()>) {
    let (mut last, mut looks) = (u64::MAX, 0);
    while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        let now = at.load(Ordering::Relaxed);
        looks = if now == last { looks + 1 } else { 0 };
        last = now;
        if looks == LOOKS {
            eprintln!("{target}: case {now} does not end (TELEREEL_SEED={now})");
            std::process::abort();
        }
    }
}

/// What a test that fails says.
pub(super) fn caught(test: impl FnOnce()) -> String {
    catch_unwind(AssertUnwindSafe(test)).err().map_or_else(String::new, |panic| words(&*panic))
}
