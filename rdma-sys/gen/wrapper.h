/* What the bindings are generated from; see the crate documentation for the command. */
#include <infiniband/verbs.h>
#include <infiniband/ib.h>
#include <rdma/rdma_cma.h>
