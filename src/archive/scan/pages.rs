//! Where in a segment a place is, by what the file says of its row groups and pages: without a look at its rows, and
//! at the pages of no other row group than the one that it is in.

use std::sync::Arc;

use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection, RowSelector};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMask, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::Statistics;

use crate::archive::blocks::CheckedFile;

/// What of a segment is to be read for the rows from a place on.
pub(super) struct Rest {
    pub(super) metadata: ArrowReaderMetadata,
    /// The row groups that are not wholly before it.
    pub(super) groups: Vec<usize>,
    /// Of their rows, those that are not in pages before it; none where all are to be read.
    pub(super) rows: Option<RowSelection>,
}

impl Rest {
    /// What follows the rows of which `is_before` holds, by their value in a column of whole numbers; all of a segment
    /// of which none is `is_inside`.
    pub(super) fn of(
        file: &CheckedFile,
        column: &str,
        is_before: &dyn Fn(i64) -> bool,
        is_inside: bool,
    ) -> Result<Self, ParquetError> {
        let mut metadata = ParquetMetaDataReader::new().parse_and_finish(file)?;
        let groups: Vec<usize> = (0..metadata.num_row_groups())
            .skip_while(|&group| is_inside && ends_before(metadata.row_group(group), column, is_before))
            .collect();
        let columns = metadata.file_metadata().schema_descr().columns();
        let column = columns.iter().position(|known| known.path().string() == column);
        let mut rows = None;
        if let (Some(&first), Some(column), true) = (groups.first(), column, is_inside) {
            let mut reader = ParquetMetaDataReader::new_with_metadata(metadata)
                .with_page_index_policy(PageIndexPolicy::Optional)
                .with_column_index_mask(ColumnChunkMask::row_groups_and_columns([first], [column]))
                .with_offset_index_mask(ColumnChunkMask::row_groups([first]));
            reader.read_page_indexes(file)?;
            metadata = reader.finish()?;
            let passed_over = rows_before(&metadata, first, column, is_before);
            let count = |&group: &usize| usize::try_from(metadata.row_group(group).num_rows()).unwrap_or(0);
            let rest = groups.iter().map(count).sum::<usize>().saturating_sub(passed_over);
            rows = (passed_over > 0)
                .then(|| vec![RowSelector::skip(passed_over), RowSelector::select(rest)].into());
        }
        let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::new())?;
        Ok(Self { metadata, groups, rows })
    }
}

/// Whether all rows of a group come before a place, by its statistics.
fn ends_before(group: &RowGroupMetaData, column: &str, is_before: &dyn Fn(i64) -> bool) -> bool {
    let column = group.columns().iter().find(|c| c.column_path().string() == column);
    match column.and_then(|column| column.statistics()) {
        Some(Statistics::Int64(values)) => values.max_opt().is_some_and(|&max| is_before(max)),
        _ => false,
    }
}

/// How many rows of a group lie in pages that all come before a place; 0 where no index tells.
fn rows_before(
    metadata: &ParquetMetaData,
    group: usize,
    column: usize,
    is_before: &dyn Fn(i64) -> bool,
) -> usize {
    let pages = metadata.page_index_for_row_group(group);
    let (Some(ColumnIndexMetaData::INT64(index)), Some(places)) =
        (pages.column_index(column), pages.page_locations(column))
    else {
        return 0;
    };
    let first = index.max_values().iter().take_while(|&&max| is_before(max)).count();
    places.get(first).and_then(|place| usize::try_from(place.first_row_index).ok()).unwrap_or(0)
}
