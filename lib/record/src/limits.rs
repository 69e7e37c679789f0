//! Every size limit of the wire format, with what raising it costs.

/// What a decoder accepts; anything over is an error that names the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Encoded batch in bytes. An indexer holds several per partition in memory.
    pub batch_bytes_max: usize,
    /// Rows in a batch. Bounds the columns even when every line is empty.
    pub rows_max: usize,
    /// One line in bytes; `specs/collector.md` C-205 lets users raise a record to 16 MiB.
    pub line_bytes_max: usize,
    /// Distinct label sets in a batch.
    pub streams_max: usize,
    /// Labels in one label set.
    pub labels_max: usize,
    /// A label or attribute name in bytes.
    pub label_name_bytes_max: usize,
    /// A label value in bytes.
    pub label_value_bytes_max: usize,
    /// Attributes of one row; `specs/loki-api.md` 8.2 mirrors 128 pairs for pushes.
    pub attributes_max: usize,
    /// One attribute value in bytes.
    pub attribute_value_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch_bytes_max: 64 << 20,
            rows_max: 4 << 20,
            line_bytes_max: 16 << 20,
            streams_max: 1 << 20,
            labels_max: 256,
            label_name_bytes_max: 1024,
            label_value_bytes_max: 64 << 10,
            attributes_max: 512,
            attribute_value_bytes_max: 1 << 20,
        }
    }
}
