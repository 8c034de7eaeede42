/* What perf has to know of a guest before it can name its addresses, as records of a stream
 * (perfdata/write.h): build-ids, without which perf does not look for the guest at all
 * (tools/perf/util/machine.c, machines__find_guest()), where its kernel and modules are, and the
 * names of its threads. As `perf kvm --guestmount record` writes them, but that threads are called
 * after the VM. Owned by one thread.
 */
#ifndef KVMPROFS_LIVEGUEST_H
#define KVMPROFS_LIVEGUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "symsrc/base/buf.h"
#include "symsrc/guest.h"
#include "symsrc/symbols.h"

struct livemodule;

/* What one stream has been told of one guest; all zero but for the serial: nothing. */
struct liveguest {
	uint64_t serial;
	uint64_t seen_ns;    /* when this boot was first looked at */
	uint32_t seen_epoch; /* which one that is */
	uint32_t epoch;	     /* that was told of last; 0: none */
	uint64_t fetched_ns; /* the symbols of then */
	uint64_t text;	     /* where that kernel's text begins; 0: not told */
	size_t vcpu_count;   /* whose names were told */
	bool named;
	size_t module_count;
	struct livemodule *modules; /* that were told */
};

void liveguest_deinit(struct liveguest *g);

/* Appends what is new. symbols: of the entry's epoch; NULL: there are none. flushed_ns: what is
 * older than that, perf may have worked up (perfdata_write_round()). b holds whole records, also
 * when it is too small for all of them. 0 or -ENOMEM. */
int liveguest_write(struct liveguest *g, const struct guest_entry *e, const struct symbols *symbols,
		    uint64_t flushed_ns, struct buf *b);

#endif
