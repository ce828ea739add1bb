//! What a segment says of its rows without their being read: which row groups and pages lie before a place.

use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::Statistics;

/// Whether all rows of a group come before a place, by the statistics of a column of whole numbers.
pub(super) fn ends_before(group: &RowGroupMetaData, column: &str, is_before: &impl Fn(i64) -> bool) -> bool {
    let column = group.columns().iter().find(|c| c.column_path().string() == column);
    match column.and_then(|column| column.statistics()) {
        Some(Statistics::Int64(values)) => values.max_opt().is_some_and(|&max| is_before(max)),
        _ => false,
    }
}

/// How many rows of a group lie in pages that all come before a place, by the index of a column of whole numbers;
/// 0 where no index tells.
pub(super) fn rows_before(
    metadata: &ParquetMetaData,
    group: usize,
    column: &str,
    is_before: &impl Fn(i64) -> bool,
) -> usize {
    let columns = metadata.row_group(group).columns();
    let Some(at) = columns.iter().position(|c| c.column_path().string() == column) else { return 0 };
    let pages = metadata.page_index_for_row_group(group);
    let (Some(ColumnIndexMetaData::INT64(index)), Some(places)) =
        (pages.column_index(at), pages.page_locations(at))
    else {
        return 0;
    };
    let first = index.max_values().iter().take_while(|&&max| is_before(max)).count();
    places.get(first).and_then(|place| usize::try_from(place.first_row_index).ok()).unwrap_or(0)
}
