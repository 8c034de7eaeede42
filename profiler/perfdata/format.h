/* perf.data, the format: what perf's own tools add to the kernel's records (linux/perf_event.h),
 * in a file and in a pipe.
 *
 * Source: Linux' tools/perf/Documentation/perf.data-file-format.txt, tools/perf/util/header.h
 * (magic, sections, features), tools/lib/perf/include/perf/event.h (the records of perf's own),
 * tools/perf/util/header.c (what a feature holds).
 *
 * All numbers are of the byte order of the host that recorded, which the magic tells.
 */
#ifndef KVMPROFS_PERFDATA_FORMAT_H
#define KVMPROFS_PERFDATA_FORMAT_H

#include <linux/perf_event.h>
#include <stdint.h>

/* "PERFILE2" as a number of the recording host: swapped, the whole file is. */
#define PERFDATA_MAGIC	       0x32454c4946524550ULL
#define PERFDATA_MAGIC_SWAPPED 0x50455246494c4532ULL

/* ---- headers ----------------------------------------------------------------------------- */

struct perfdata_section {
	uint64_t offset; /* from the beginning of the file */
	uint64_t size;
};

#define PERFDATA_FEATURE_BITS 256

/* A file. Its features stand after the data: a perfdata_section for each bit that is set, in the
 * order of the bits, then what these point at. data.size is 0 when perf was killed. */
struct perfdata_file_header {
	uint64_t magic;
	uint64_t size;			/* of this header */
	uint64_t attr_size;		/* of one element of attrs */
	struct perfdata_section attrs;	/* array: perf_event_attr, perfdata_section of its ids */
	struct perfdata_section data;	/* the records */
	struct perfdata_section unused; /* event types, of old files */
	uint64_t features[PERFDATA_FEATURE_BITS / 64];
};

/* A pipe: records follow at once, attributes and features among them. */
struct perfdata_pipe_header {
	uint64_t magic;
	uint64_t size; /* of this header: tells a pipe from a file */
};

/* ---- records of perf's own: perf_event_header.type ------------------------------------------ */

enum perfdata_type {
	PERFDATA_HEADER_ATTR = 64,
	PERFDATA_HEADER_EVENT_TYPE = 65, /* of old files */
	PERFDATA_HEADER_TRACING_DATA = 66,
	PERFDATA_HEADER_BUILD_ID = 67,
	PERFDATA_FINISHED_ROUND = 68,
	PERFDATA_ID_INDEX = 69,
	PERFDATA_AUXTRACE_INFO = 70,
	PERFDATA_AUXTRACE = 71,
	PERFDATA_AUXTRACE_ERROR = 72,
	PERFDATA_THREAD_MAP = 73,
	PERFDATA_CPU_MAP = 74,
	PERFDATA_STAT_CONFIG = 75,
	PERFDATA_STAT = 76,
	PERFDATA_STAT_ROUND = 77,
	PERFDATA_EVENT_UPDATE = 78,
	PERFDATA_TIME_CONV = 79,
	PERFDATA_HEADER_FEATURE = 80,
	PERFDATA_COMPRESSED = 81,
	PERFDATA_FINISHED_INIT = 82,
	PERFDATA_COMPRESSED2 = 83, /* perf 6.16: padded, so that what follows is aligned */
};

/* The attribute (attr.size bytes of it, in the recorder's own version), then uint64_t ids[] to the
 * record's end. */
struct perfdata_header_attr {
	struct perf_event_header header;
	struct perf_event_attr attr;
};

/* What size says is the attribute's, whatever this host's linux/perf_event.h knows of it. */
#define PERFDATA_ATTR_SIZE_VER0 64

/* After the event's own bytes (uint32_t size of them) come the texts of tracefs' format files:
 * the record's size does not count them. */
struct perfdata_tracing_data {
	struct perf_event_header header;
	uint32_t size; /* of what follows the record, padded to 8 bytes */
};

#define PERFDATA_BUILD_ID_MAX 20
/* In header.misc: size is valid, else all 20 bytes (with zeros at the end) are. */
#define PERFDATA_MISC_BUILD_ID_SIZE (1u << 15)

/* Also the elements of PERFDATA_FEATURE_BUILD_ID in a file. header.misc has the mode as in a
 * sample: PERF_RECORD_MISC_GUEST_KERNEL for a guest's kernel and modules. */
struct perfdata_build_id {
	struct perf_event_header header;
	int32_t pid; /* of the VMM for a guest's; -1: the host */
	uint8_t id[PERFDATA_BUILD_ID_MAX];
	uint8_t id_size;
	uint8_t reserved[3];
	/* char name[], with its NUL, to the record's end */
};

/* One of the pairs of an id index. */
struct perfdata_id_index_entry {
	uint64_t id;
	uint64_t idx;
	uint64_t cpu;
	uint64_t tid;
};

/* Then the entries; then, when the record has room for them, as many pairs of uint64_t
 * machine_pid and vcpu (perf inject --guest-data). */
struct perfdata_id_index {
	struct perf_event_header header;
	uint64_t count;
};

/* What AUXTRACE_INFO and the data after AUXTRACE are is of no interest here, but how many bytes
 * follow the record is: they are not counted by header.size. */
struct perfdata_auxtrace {
	struct perf_event_header header;
	uint64_t size; /* of what follows */
	uint64_t offset;
	uint64_t reference;
	uint32_t idx;
	uint32_t tid;
	uint32_t cpu;
	uint32_t reserved;
};

enum perfdata_update {
	PERFDATA_UPDATE_UNIT = 0,
	PERFDATA_UPDATE_SCALE = 1,
	PERFDATA_UPDATE_NAME = 2, /* char name[], with its NUL */
	PERFDATA_UPDATE_CPUS = 3,
};

/* Then what is new. */
struct perfdata_event_update {
	struct perf_event_header header;
	uint64_t update; /* enum perfdata_update */
	uint64_t id;	 /* one of the event's */
};

/* Then what such a feature holds in a file. */
struct perfdata_header_feature {
	struct perf_event_header header;
	uint64_t feature; /* enum perfdata_feature */
};

/* Then one zstd frame's bytes, to the record's end: of a stream of records that goes on from one
 * of these to the next, so that a record may begin in one and end in another. */
struct perfdata_compressed {
	struct perf_event_header header;
};

struct perfdata_compressed2 {
	struct perf_event_header header;
	uint64_t data_size; /* what follows, without the padding */
};

/* ---- features ------------------------------------------------------------------------------ */

enum perfdata_feature {
	PERFDATA_FEATURE_TRACING_DATA = 1,
	PERFDATA_FEATURE_BUILD_ID = 2, /* perfdata_build_id records */
	PERFDATA_FEATURE_HOSTNAME = 3, /* these: perfdata_string */
	PERFDATA_FEATURE_OSRELEASE = 4,
	PERFDATA_FEATURE_VERSION = 5, /* of perf */
	PERFDATA_FEATURE_ARCH = 6,    /* "x86_64" */
	PERFDATA_FEATURE_NRCPUS = 7,  /* uint32_t available, online */
	PERFDATA_FEATURE_CPUDESC = 8, /* string */
	PERFDATA_FEATURE_CPUID = 9,   /* string */
	PERFDATA_FEATURE_TOTAL_MEM = 10,
	PERFDATA_FEATURE_CMDLINE = 11, /* uint32_t count, strings */
	/* uint32_t count, attr_size; for each: attr, uint32_t ids, string (name), uint64_t ids[] */
	PERFDATA_FEATURE_EVENT_DESC = 12,
	PERFDATA_FEATURE_CPU_TOPOLOGY = 13,
	PERFDATA_FEATURE_NUMA_TOPOLOGY = 14,
	PERFDATA_FEATURE_BRANCH_STACK = 15,
	PERFDATA_FEATURE_PMU_MAPPINGS = 16,
	PERFDATA_FEATURE_GROUP_DESC = 17,
	PERFDATA_FEATURE_AUXTRACE = 18,
	PERFDATA_FEATURE_STAT = 19,
	PERFDATA_FEATURE_CACHE = 20,
	PERFDATA_FEATURE_SAMPLE_TIME = 21, /* uint64_t first, last */
	PERFDATA_FEATURE_MEM_TOPOLOGY = 22,
	PERFDATA_FEATURE_CLOCKID = 23, /* uint64_t: the clock's resolution in ns */
	PERFDATA_FEATURE_DIR_FORMAT = 24,
	PERFDATA_FEATURE_BPF_PROG_INFO = 25,
	PERFDATA_FEATURE_BPF_BTF = 26,
	PERFDATA_FEATURE_COMPRESSED = 27, /* perfdata_compression */
	PERFDATA_FEATURE_CPU_PMU_CAPS = 28,
	PERFDATA_FEATURE_CLOCK_DATA = 29, /* perfdata_clock_data */
	PERFDATA_FEATURE_HYBRID_TOPOLOGY = 30,
	PERFDATA_FEATURE_PMU_CAPS = 31,
};

/* A string: its bytes follow, with at least one NUL. */
struct perfdata_string {
	uint32_t size; /* of what follows, padded to PERFDATA_STRING_ALIGN */
};
#define PERFDATA_STRING_ALIGN 64

struct perfdata_compression {
	uint32_t version; /* 1 */
	uint32_t type;	  /* PERFDATA_COMPRESSION_ZSTD */
	uint32_t level;
	uint32_t ratio;
	uint32_t mmap_size; /* no record is longer, decompressed at a time */
};
#define PERFDATA_COMPRESSION_ZSTD 1

/* Two clocks at one moment. */
struct perfdata_clock_data {
	uint32_t version; /* 1 */
	uint32_t clockid; /* of the samples */
	uint64_t wall_ns; /* CLOCK_REALTIME */
	uint64_t clock_ns;
};

/* ---- names -------------------------------------------------------------------------------- */

/* How perf calls the kernel of the guest with that pid; the default guest's has no ".PID". */
#define PERFDATA_GUEST_KERNEL	     "[guest.kernel.kallsyms]"
#define PERFDATA_GUEST_KERNEL_PREFIX "[guest.kernel.kallsyms." /* then "PID]" */
/* ... and in PERF_RECORD_MMAP's name, followed by the symbol that pgoff is the address of */
#define PERFDATA_REFERENCE_SYMBOL "_text"
/* The host's. */
#define PERFDATA_HOST_KERNEL "[kernel.kallsyms]"

#endif
