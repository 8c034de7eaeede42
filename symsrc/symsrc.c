#include "symsrc/symsrc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/discover.h"
#include "symsrc/modfiles.h"
#include "symsrc/source_ssh.h"
#include "symsrc/symload.h"

struct symsrc {
	struct guests *guests;
	struct discover *discover; /* NULL: the guests are recorded */
	struct symload *loader;
	struct modfiles *modfiles;
	bool stuck; /* a fetch could not be ended: all that it uses stays */
};

static int create_modfiles(struct symsrc *s)
{
	struct modfiles_config c = {0};

	c.rules = symload_rules(s->loader, &c.rule_count);
	return modfiles_create(&c, s->guests, s->loader, &s->modfiles);
}

static int fill(struct symsrc *s, const struct symsrc_config *c, struct errmsg *why)
{
	const struct discover_config found = {.proc_root = c->proc_root,
					      .debugfs_root = c->debugfs_root,
					      .only = c->only,
					      .only_count = c->only_count};
	const struct symload_config load = {.rules = c->rules,
					    .rule_count = c->rule_count,
					    .fetchers = c->fetchers,
					    .recorded = c->recorded != NULL,
					    .proc_root = c->proc_root};
	int r;

	s->guests = guests_create();
	if (!s->guests)
		return -ENOMEM;
	if (c->recorded)
		r = guests_publish(s->guests, c->recorded, c->recorded_count);
	else
		r = discover_create(&found, s->guests, &s->discover, why);
	if (r < 0)
		return r == -ENOMEM ? errmsg_set(why, r, "no memory for the guests") : r;
	r = symload_create(&load, s->guests, &s->loader);
	if (r == 0)
		r = create_modfiles(s);
	if (r < 0)
		return errmsg_set(why, r, "symbols: cannot be set up: %s", strerrordesc_np(-r));
	return 0;
}

int symsrc_create(const struct symsrc_config *config, struct symsrc **ret, struct errmsg *why)
{
	struct symsrc *s;
	int r = source_ssh_init(why);

	if (r < 0)
		return r;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	r = fill(s, config, why);
	if (r < 0) {
		symsrc_destroy(s);
		return r;
	}
	*ret = s;
	return 0;
}

int symsrc_start(struct symsrc *s, struct errmsg *why)
{
	int r = symload_start(s->loader, why);

	if (r < 0)
		return r;
	r = modfiles_start(s->modfiles, why);
	if (r == 0 && s->discover)
		r = discover_start(s->discover, why);
	if (r < 0)
		symsrc_stop(s);
	return r;
}

void symsrc_await_guests(const struct symsrc *s)
{
	if (s->discover)
		discover_await_first_look(s->discover);
}

void symsrc_stop(struct symsrc *s)
{
	if (s->discover)
		discover_stop(s->discover);
	s->stuck = modfiles_stop(s->modfiles) < 0;
	s->stuck |= symload_stop(s->loader) < 0;
}

/* What a thread that was left behind still uses, for whoever looks for leaks. */
static struct symsrc *left_behind __attribute__((used));

void symsrc_destroy(struct symsrc *s)
{
	if (!s)
		return;
	if (s->stuck) {
		left_behind = s;
		return;
	}
	modfiles_destroy(s->modfiles);
	symload_destroy(s->loader);
	discover_destroy(s->discover);
	guests_destroy(s->guests);
	free(s);
}

struct guests *symsrc_guests(struct symsrc *s)
{
	return s->guests;
}

const struct symbols *symsrc_symbols(struct symsrc *s, uint64_t serial, uint32_t epoch)
{
	return symload_symbols(s->loader, serial, epoch);
}

void symsrc_status(struct symsrc *s, uint64_t serial, struct symsrc_status *ret)
{
	symload_status(s->loader, serial, ret);
	modfiles_status(s->modfiles, serial, ret);
}

size_t symsrc_waiting(struct symsrc *s)
{
	return symload_waiting(s->loader);
}

const struct modtree *symsrc_module_tree(struct symsrc *s, uint64_t serial)
{
	return modfiles_tree(s->modfiles, serial);
}

int symsrc_module_file(struct symsrc *s, uint64_t serial, uint64_t key, uint64_t stamp,
		       struct blob **ret)
{
	return modfiles_content(s->modfiles, serial, key, stamp, ret);
}

int symsrc_refresh(struct symsrc *s, uint64_t serial)
{
	return symload_refresh(s->loader, serial);
}

int symsrc_look(struct symsrc *s, uint64_t serial)
{
	return symload_look(s->loader, serial);
}

void symsrc_offer_addresses(struct symsrc *s, uint64_t serial, uint32_t epoch, const uint64_t *ips,
			    size_t n)
{
	symload_offer_addresses(s->loader, serial, epoch, ips, n);
}

void symsrc_set_misfit(struct symsrc *s, uint64_t serial, uint32_t epoch, bool misfit)
{
	symload_set_misfit(s->loader, serial, epoch, misfit);
}

int symsrc_subscribe(struct symsrc *s, int wake_fd)
{
	return symload_subscribe(s->loader, wake_fd);
}

void symsrc_unsubscribe(struct symsrc *s, int wake_fd)
{
	symload_unsubscribe(s->loader, wake_fd);
}

void symsrc_on_retired(struct symsrc *s, symsrc_retired_fn *fn, void *ctx)
{
	symload_on_retired(s->loader, fn, ctx);
}
