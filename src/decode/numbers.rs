//! A column of numbers in the making.

use arrow::array::{ArrowPrimitiveType, NullBufferBuilder, PrimitiveArray};

/// As Arrow's `PrimitiveBuilder`, over a plain vector, which grows cheaper value by value.
#[derive(Debug)]
pub(super) struct Numbers<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    present: NullBufferBuilder,
}

impl<T: ArrowPrimitiveType> Numbers<T> {
    pub(super) fn new() -> Self {
        Self { values: Vec::new(), present: NullBufferBuilder::new(0) }
    }

    #[inline]
    pub(super) fn push(&mut self, value: Option<T::Native>) {
        self.values.push(value.unwrap_or_default());
        self.present.append(value.is_some());
    }

    pub(super) fn push_nulls(&mut self, count: usize) {
        self.values.resize(self.values.len() + count, T::Native::default());
        self.present.append_n_nulls(count);
    }

    /// The numbers since the last call. As many are expected again.
    pub(super) fn finish(&mut self) -> PrimitiveArray<T> {
        let next = Vec::with_capacity(self.values.len());
        let values = std::mem::replace(&mut self.values, next);
        PrimitiveArray::new(values.into(), self.present.finish())
    }
}
