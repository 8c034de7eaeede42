/* Symbols of a recorded guest's kernel out of perf's cache of build-ids (~/.debug).
 *
 * What lies there by a build-id need not be that kernel's: of a guest's, perf stores the host's own
 * /proc/kallsyms (tools/perf/util/build-id.c, build_id_cache__add_s(), which copies that file
 * whatever the kernel is). So a kallsyms counts only where it says what the recording says: its
 * reference symbol lies where perf saw the guest's, and so do the modules. An ELF file counts where
 * its own build-id is that one.
 */
#ifndef KVMPROFS_PERFDATA_CACHED_H
#define KVMPROFS_PERFDATA_CACHED_H

#include <stddef.h>

#include "profiler/perfdata/recording.h"

/* The URI of a symbol source (symsrc/source.h) for the guest, "none:WHY" where nothing can be
 * trusted. dir: the cache, an absolute path. Reads what it finds there. */
void cached_source(const struct recording *r, const struct recording_guest *g, const char *dir,
		   char *uri, size_t size);

#endif
