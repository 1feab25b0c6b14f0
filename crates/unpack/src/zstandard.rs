//! One frame of Zstandard, inflated. Never more than one, never one that wants a large window or a dictionary, and never one whose
//! checksum or size is another than it says.

use std::io::{self, Read};

use ruzstd::decoding::{
    FrameDecoder, StreamingDecoder,
    errors::{FrameDecoderError, FrameHeaderError, ReadFrameHeaderError},
};

use crate::{UnpackError, error::shown, packed::Packed, trouble::Trouble};

/// The largest window, in bytes: what every decoder is to take, and what `zstd` asks for up to level 19.
const WINDOW_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// A frame as it is read.
pub(crate) struct Frame<R: Read> {
    inner: StreamingDecoder<Packed<R>, FrameDecoder>,
    unpacked_bytes: u64,
    is_checked: bool,
    trouble: Trouble,
}

impl<R: Read> Frame<R> {
    pub(crate) fn open(packed: Packed<R>) -> Result<Self, UnpackError> {
        let trouble = packed.trouble();
        let inner = StreamingDecoder::new_with_max_window_size(packed, WINDOW_BYTES_MAX);
        let inner = inner.map_err(|error| trouble.first(refused(&error)))?;
        Ok(Self {
            inner,
            unpacked_bytes: 0,
            is_checked: false,
            trouble,
        })
    }

    /// What follows the frame; all of it must have been read.
    pub(crate) fn into_inner(self) -> Packed<R> {
        self.inner.into_inner()
    }

    fn check(&mut self) -> io::Result<()> {
        let frame = &self.inner.decoder;
        let size = frame.content_size();
        if size != 0 && size != self.unpacked_bytes {
            let error = UnpackError::damaged("the frame's size is another than it says");
            return Err(self.trouble.hit(error));
        }
        let said = frame.get_checksum_from_data();
        if said.is_some() && said != frame.get_calculated_checksum() {
            let error = UnpackError::damaged("its checksum is wrong");
            return Err(self.trouble.hit(error));
        }
        self.is_checked = true;
        Ok(())
    }
}

impl<R: Read> Read for Frame<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.unpacked_bytes += count as u64;
        if count == 0 && !into.is_empty() && !self.is_checked {
            self.check()?;
        }
        Ok(count)
    }
}

fn refused(error: &FrameDecoderError) -> UnpackError {
    match error {
        FrameDecoderError::WindowSizeTooBig { requested, .. } => too_wide(*requested),
        FrameDecoderError::FrameHeaderError(FrameHeaderError::WindowTooBig { got }) => {
            too_wide(*got)
        }
        FrameDecoderError::DictNotProvided { .. } => {
            UnpackError::damaged("it needs a dictionary that it does not bring")
        }
        FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { .. }) => {
            UnpackError::damaged("it begins with a frame that readers skip")
        }
        other => UnpackError::damaged(shown(&other.to_string())),
    }
}

fn too_wide(window: u64) -> UnpackError {
    UnpackError::Limit(format!(
        "to unpack it takes a window of {window} bytes, and {WINDOW_BYTES_MAX} are allowed: pack it with `zstd -19` or less \
         and without `--long`"
    ))
}
