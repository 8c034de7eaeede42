/* A folder of small files for a test, below /tmp. */
#ifndef KVMPROFS_TESTS_TMPTREE_H
#define KVMPROFS_TESTS_TMPTREE_H

struct tmptree {
	char path[64];
};

void tmptree_init(struct tmptree *t);
void tmptree_deinit(struct tmptree *t); /* removes all of it */

/* Makes the file and the folders above it. name: relative. */
void tmptree_put(struct tmptree *t, const char *name, const char *content);

#endif
