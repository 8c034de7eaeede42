/* Copies of entries that the programs in the kernel write meanwhile, on other CPUs: as an entry was
 * at one moment, so that nothing is counted twice or counts backwards from one reading to the next.
 *
 * An entry that is being written is copied again, which takes a program some hundredths of a
 * microsecond. Where a hypervisor below has stopped the program's CPU right there, that ends after
 * some 100 us: false, and the copy is of something half done. What stands there meets the eye in
 * the order in which it was written on x86; on other CPUs it nearly always does. */
#ifndef KVMPROFS_EXITS_STEADY_H
#define KVMPROFS_EXITS_STEADY_H

#include <stdbool.h>

#include "profiler/exits/abi.h"

/* What one vCPU's thread does, its exit and access under way, and how long it did what. Events, and
 * what a whole process counts together, are each as they were at some moment of this call. */
bool exits_steady_thread(const struct exits_thread *from, struct exits_thread *to);

/* All of a row that one vCPU's thread counts. */
bool exits_steady_row(const struct exits_row *from, struct exits_row *to);

#endif
