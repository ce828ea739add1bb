//! What the C library's allocator keeps of memory that is free.
//!
//! Of allocations that it maps on their own, glibc gives back each as soon as it is free. It begins with those from 128 KiB
//! on, but at the first large one that is freed it moves that limit up to its size, to 32 MiB at the most: then the
//! buffers of large messages lie between small things in the heap of each thread, and their room stays. With messages of
//! a mebibyte over twenty connections a recorder came to 128 MiB of which it used less than 60; with the limit held where
//! it is, to 96, and minutes later to less than it began with. A limit that is set is not moved any more.
//!
//! What it costs are page faults: an import, which takes new buffers all the time, was not seen to be slower beyond what
//! its runs differ by (2.4 to 3.6 s, with and without).

/// glibc's own beginning, see `mallopt(3)`.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_FROM_BYTES: libc::c_int = 128 << 10;

/// Has large allocations given back to the system when they are freed; elsewhere than in glibc, nothing.
pub fn give_back_what_is_large() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(
        unsafe_code,
        reason = "mallopt only sets a number of the allocator, which it takes at any time and from any thread"
    )]
    // Whether it took it is nothing to act upon: without it, more stays in memory.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM_BYTES);
    }
}
