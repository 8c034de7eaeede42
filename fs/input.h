/* --input: the recording that is served in the place of live guests. */
#ifndef KVMPROFS_INPUT_H
#define KVMPROFS_INPUT_H

#include "fs/options.h"
#include "profiler/perfdata/recording.h"
#include "symsrc/base/errmsg.h"

struct input {
	struct recording *recording; /* NULL: none */
	const struct guest **guests;
	int guest_count;
	/* A rule for each guest: what the options say, or what perf's cache of build-ids has. */
	struct source_rule *rules;
	size_t rule_count;
};

/* Reads the recording that the options name, which may take a while: a terminal at standard error
 * is told how far it is. Without one, *ret is empty. 0, or negative errno and why. */
int input_read(const struct options *o, struct input *ret, struct errmsg *why);
void input_deinit(struct input *in);

#endif
