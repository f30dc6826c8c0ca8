//! Takes the parts of a loaded object: maps with their types, programs.
//!
//! Must not know what a part is for.

use std::os::fd::AsFd as _;

use aya::{
    Ebpf,
    maps::{Map, MapData, MapError},
    programs::{ProgramError, SchedClassifier},
};

/// A part of the eBPF object is not as the agent expects it.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// The object lacks a map.
    #[error("the eBPF object has no map {name}")]
    MissingMap {
        /// Name of the map.
        name: &'static str,
    },
    /// A map is not what the agent expects.
    #[error("map {name} of the eBPF object")]
    Map {
        /// Name of the map.
        name: &'static str,
        /// What is wrong with it.
        #[source]
        source: MapError,
    },
    /// The object lacks a program.
    #[error("the eBPF object has no program {name}")]
    MissingProgram {
        /// Name of the program.
        name: &'static str,
    },
    /// The kernel refused a program.
    #[error("program {name} of the eBPF object")]
    Program {
        /// Name of the program.
        name: &'static str,
        /// The kernel's reason, with the verifier's log.
        #[source]
        source: ProgramError,
    },
}

/// A handle of its own of one map, typed. The object keeps its own: what it loads later still finds
/// the map.
pub(crate) fn open<M>(ebpf: &Ebpf, name: &'static str) -> Result<M, PartError>
where
    M: TryFrom<Map, Error = MapError>,
{
    open_untyped(ebpf, name)?
        .try_into()
        .map_err(|source| PartError::Map { name, source })
}

/// A handle of its own of one map.
pub(crate) fn open_untyped(ebpf: &Ebpf, name: &'static str) -> Result<Map, PartError> {
    let map = ebpf.map(name).ok_or(PartError::MissingMap { name })?;
    second_handle(map).map_err(|source| PartError::Map { name, source })
}

fn second_handle(map: &Map) -> Result<Map, MapError> {
    let (Map::Array(data)
    | Map::HashMap(data)
    | Map::LpmTrie(data)
    | Map::LruHashMap(data)
    | Map::PerCpuArray(data)
    | Map::ProgramArray(data)
    | Map::RingBuf(data)) = map
    else {
        return Err(MapError::InvalidMapType { map_type: 0 });
    };
    let fd = data.fd().as_fd().try_clone_to_owned()?;
    MapData::from_fd(fd).and_then(Map::from_map_data)
}

/// A program of a loaded object.
pub(crate) fn classifier<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut SchedClassifier, PartError> {
    ebpf.program_mut(name)
        .ok_or(PartError::MissingProgram { name })?
        .try_into()
        .map_err(|source| PartError::Program { name, source })
}
