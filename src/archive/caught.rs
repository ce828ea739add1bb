//! Reading what somebody else wrote with a library that may give up by a panic: the reader's end is then an error like
//! any other, told without a trace of the program.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// What `read` answers, or what it gave up with. What it was at work on is not to be used any more.
pub(crate) fn caught<T>(read: impl FnOnce() -> T) -> Result<T, String> {
    static HUSH: Once = Once::new();
    HUSH.call_once(|| {
        let loud = take_hook();
        set_hook(Box::new(move |panic| {
            if !IS_CAUGHT.get() {
                loud(panic);
            }
        }));
    });
    let was = IS_CAUGHT.replace(true);
    let answer = catch_unwind(AssertUnwindSafe(read));
    IS_CAUGHT.set(was);
    answer.map_err(|panic| format!("its reader gave up: {}", words(&*panic)))
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it did not say why")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_an_answer_is_one() {
        assert_eq!(caught(|| 7), Ok(7));
        let at: Vec<u8> = Vec::new();
        let said = caught(|| at[1]).unwrap_err();
        assert!(said.contains("index out of bounds"), "{said}");
    }
}
