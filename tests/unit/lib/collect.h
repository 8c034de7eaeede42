/* A source_sink that keeps what it is given, for tests. */
#ifndef KVMPROFS_TESTS_COLLECT_H
#define KVMPROFS_TESTS_COLLECT_H

#include "symsrc/base/buf.h"
#include "symsrc/source.h"

#define COLLECT_MAX (128u << 20)

struct collect {
	struct buf files[GUEST_FILE_COUNT]; /* contents; of several, one after the other */
	unsigned times[GUEST_FILE_COUNT];   /* begins */
	struct buf modules;		    /* "NAME NAME " of the module notes, in order */
	int current;
	int fail_at; /* this begin (counted from 1) returns fail_with; 0: none */
	int fail_with;
	unsigned begins;
};

void collect_init(struct collect *c);
void collect_deinit(struct collect *c);
struct source_sink collect_sink(struct collect *c);

/* Fails the test unless the file came exactly so often and holds exactly these bytes. */
void collect_assert(const struct collect *c, enum guest_file file, unsigned times,
		    const void *bytes, size_t n);

/* Fails it unless all of a guestroot came: modules twice, boot_id once or twice. */
void collect_assert_guestroot(const struct collect *c);

#endif
